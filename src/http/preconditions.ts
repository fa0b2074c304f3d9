import type { FastifyRequest } from "fastify"
import type { Precondition } from "../domain/caller.ts"
import type { ConfigType } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"

/** An entity-tag (RFC 9110, 8.8.3), at the place where a list goes on. */
const entityTag = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/y
const separator = /[ \t]*(?:,[ \t]*)+|[ \t]*$/y
const ownTag = /^([0-9a-f]{64})(?:-json(?:-yaml-1\.1|-env)?)?$/

/** The tag of the bytes, or of their JSON view where `readAs` is given: another one for each way to read them, which a reload may change. */
export function etagOf(digest: string, readAs: Pick<ConfigType, "format" | "yamlVersion"> | null = null): string {
  return readAs === null ? `"${digest}"` : `"${digest}-json${suffixOf(readAs)}"`
}

/** YAML 1.2 reads what JSON reads, to the same value; a text has no JSON view. */
function suffixOf({ format, yamlVersion }: Pick<ConfigType, "format" | "yamlVersion">): string {
  if (format === "env") return "-env"
  return format === "yaml" && yamlVersion === "1.1" ? "-yaml-1.1" : ""
}

/** What the caller demands of the file it changes. @throws {Fault} `invalid_header` */
export function preconditionOf(request: FastifyRequest): Precondition {
  const ifMatch = tagsOf("If-Match", request.headers["if-match"])
  const ifNoneMatch = tagsOf("If-None-Match", request.headers["if-none-match"])
  if (ifNoneMatch !== null && ifNoneMatch !== "*") {
    throw new Fault("invalid_header", "If-None-Match of a change can only be *: create, never replace.")
  }
  // RFC 9110, 13.1.4: beside If-Match it does not count.
  if (ifMatch === null && request.headers["if-unmodified-since"] !== undefined) {
    const sentence =
      "If-Unmodified-Since does not tell two changes of one second apart: send If-Match with the ETag of the read."
    throw new Fault("invalid_header", sentence)
  }
  return {
    ifMatch: ifMatch === "*" || ifMatch === null ? ifMatch : digestsIn(ifMatch),
    createOnly: ifNoneMatch === "*",
  }
}

/** Whether `If-None-Match` of a GET names the view that would be sent. @throws {Fault} `invalid_header` */
export function isFresh(request: FastifyRequest, etag: string): boolean {
  const tags = tagsOf("If-None-Match", request.headers["if-none-match"])
  return tags === "*" || (tags?.includes(etag.slice(1, -1)) ?? false)
}

/**
 * The opaque tags of a header, without quotes. A `W/` is dropped: a proxy that recodes bodies puts it before our tags.
 * @throws {Fault} `invalid_header`
 */
function tagsOf(name: string, value: string | undefined): "*" | readonly string[] | null {
  if (value === undefined) return null
  const text = value.trim()
  if (text === "*") return "*"
  const tags: string[] = []
  for (let at = skipEmpty(text); at < text.length; ) {
    entityTag.lastIndex = at
    const tag = entityTag.exec(text)
    separator.lastIndex = entityTag.lastIndex
    if (!tag || !separator.test(text)) throw malformed(name)
    tags.push(tag[2] ?? "")
    at = separator.lastIndex
  }
  if (tags.length === 0) throw malformed(name)
  return tags
}

/** RFC 9110, 5.6.1: a list may begin with empty elements. */
function skipEmpty(text: string): number {
  return text.length - text.replace(/^[ \t,]+/, "").length
}

function malformed(name: string): Fault {
  return new Fault("invalid_header", `${name} is neither * nor a list of quoted entity-tags, like "<digest>".`)
}

/** Tags of another shape name no view of ours: they never match. */
function digestsIn(tags: readonly string[]): readonly string[] {
  return tags.flatMap((tag) => ownTag.exec(tag)?.[1] ?? [])
}
