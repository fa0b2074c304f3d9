/** Longer pointers are cut to an ancestor's: they come from keys of the document, which may be as long as the document itself. */
const maxPointerLength = 1024

/** RFC 6901. */
export function pointerOf(tokens: readonly (string | number)[]): string {
  return tokens.map((token) => `/${String(token).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("")
}

/** The pointer, or that of the nearest ancestor that is short enough to be shown. */
export function shownPointer(tokens: readonly (string | number)[]): string {
  let pointer = ""
  for (const token of tokens) {
    const longer = pointer + pointerOf([token])
    if (longer.length > maxPointerLength) return pointer
    pointer = longer
  }
  return pointer
}

/** @returns null for text that is no pointer */
export function tokensOf(pointer: string): string[] | null {
  if (pointer === "") return []
  if (!pointer.startsWith("/")) return null
  return pointer
    .slice(1)
    .split("/")
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"))
}

/** Where a value stands: an offset for a scalar, with its children for a collection. */
export type Place = number | { readonly at: number; readonly children: ReadonlyMap<string, Place> | readonly Place[] }

/** The offset of the value at `pointer`, or of its nearest ancestor that there is. */
export function findPlace(root: Place, pointer: string): number | null {
  const tokens = tokensOf(pointer)
  if (!tokens) return null
  let place = root
  for (const token of tokens) {
    const next = childOf(place, token)
    if (next === undefined) break
    place = next
  }
  return typeof place === "number" ? place : place.at
}

function childOf(place: Place, token: string): Place | undefined {
  if (typeof place === "number") return undefined
  const { children } = place
  if (children instanceof Map) return children.get(token)
  return Array.isArray(children) && /^(0|[1-9]\d*)$/.test(token) ? children[Number(token)] : undefined
}
