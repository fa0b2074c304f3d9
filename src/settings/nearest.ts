import { keyText } from "./mistakes.ts"

/** How many letters must be put in, taken out, changed or swapped with their neighbour (optimal string alignment). */
export function editDistance(left: string, right: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= right.length; j += 1) {
      const same = left[i - 1] === right[j - 1] ? 0 : 1
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + same)
      const swapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]
      if (swapped) best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1)
      row.push(best)
    }
    beforeLast = last
    last = row
  }
  return last[right.length] ?? 0
}

/** The known word nearest to `word`, or null where none is near enough to be meant (more than a third of it differs). */
function nearestOf(word: string, known: Iterable<string>): string | null {
  if (word.length > 100) return null
  let nearest: string | null = null
  let least = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= least) continue
    const distance = editDistance(word, candidate)
    if (distance >= least) continue
    nearest = candidate
    least = distance
  }
  return nearest
}

/** ` (did you mean vm01?)`, or nothing where no known word is near. */
export function nearestHint(word: string, known: Iterable<string>): string {
  const nearest = nearestOf(word, known)
  return nearest === null ? "" : ` (did you mean ${keyText(nearest)}?)`
}
