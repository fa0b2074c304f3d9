import { readdir, readFile } from "node:fs/promises"
import { join, posix } from "node:path"
import { isRecord, type SchemaRef, type WalkedSchema, walkSchema, withoutFragment } from "./schema-walk.ts"

export type Draft = "draft-07" | "2020-12"

/** A schema file that has been read and looked through. */
export interface SchemaFile {
  /** Relative to `schema_dir`, with `/`. */
  readonly file: string
  readonly bytes: Buffer
  readonly schema: Readonly<Record<string, unknown>> | boolean
  /** null: it names none, so it goes with whatever refers to it; alone it is 2020-12. */
  readonly draft: Draft | null
  /** Absolute; what relative references count from. */
  readonly uri: string
  readonly walked: WalkedSchema
}

/** Stands for `schema_dir` in URIs; `.invalid` can never be a real host (RFC 2606). */
export const schemaDirUri = "https://schema-dir.invalid/"

const drafts: ReadonlyMap<string, Draft> = new Map([
  ["http://json-schema.org/draft-07/schema", "draft-07"],
  ["https://json-schema.org/draft-07/schema", "draft-07"],
  ["https://json-schema.org/draft/2020-12/schema", "2020-12"],
])
/** Files looked through for a `$id`. */
const maxSearchedFiles = 1000

/** Reads the schema files under one directory, each once. */
export class SchemaFiles {
  readonly #dir: string
  readonly #files = new Map<string, Promise<SchemaFile>>()
  #byId: Promise<ReadonlyMap<string, string>> | null = null

  constructor(dir: string) {
    this.#dir = dir
  }

  /** @throws {Error} a sentence without the file's name; its `code` is ENOENT where there is no file */
  read(file: string): Promise<SchemaFile> {
    let read = this.#files.get(file)
    if (!read) {
      read = this.#read(file)
      this.#files.set(file, read)
    }
    return read
  }

  async #read(file: string): Promise<SchemaFile> {
    if (isOutside(file)) throw new Error("leads out of schema_dir")
    const bytes = await readFile(join(this.#dir, file))
    const schema = parseSchema(bytes)
    const draft = draftOf(schema)
    const own = new URL(file.split("/").map(encodeURIComponent).join("/"), schemaDirUri).href
    const id = isRecord(schema) && typeof schema.$id === "string" ? schema.$id : own
    try {
      const uri = withoutFragment(id, own)
      const walked = walkSchema(schema, uri)
      if (walked.usesData) throw new Error("$data is not supported: a schema must not depend on the document")
      return { file, bytes, schema, draft, uri, walked }
    } catch (error) {
      if (error instanceof TypeError) throw new Error("a $id or $ref is no URI reference", { cause: error })
      throw error
    }
  }

  /**
   * The file that a `$ref` of `from` leads to; null: it stays inside `from`, or is the draft's own meta-schema.
   * @throws {Error} a sentence without the name of `from`
   */
  async follow(from: SchemaFile, ref: SchemaRef): Promise<SchemaFile | null> {
    if (from.walked.ids.has(ref.target)) return null
    if (isMetaSchema(ref.target, from.draft ?? "2020-12")) return null
    const file = (await this.#fileBeside(from, ref)) ?? (await this.#idsOfFiles()).get(ref.target)
    if (file === undefined) {
      const remote = /^[a-z][a-z0-9+.-]*:/i.test(ref.written)
      const why = remote
        ? "is no $id of a file under schema_dir, and nothing is fetched"
        : "does not exist under schema_dir"
      throw new Error(`$ref "${shown(ref.written)}" ${why}`)
    }
    return this.read(file)
  }

  async #fileBeside(from: SchemaFile, ref: SchemaRef): Promise<string | null> {
    const path = ref.written.split("#", 1)[0] ?? ""
    if (path === "" || /^(?:[a-z][a-z0-9+.-]*:|\/\/)/i.test(path)) return null
    const file = posix.join(posix.dirname(from.file), decodeURIComponent(path))
    if (isOutside(file)) throw new Error(`$ref "${shown(ref.written)}" leads out of schema_dir`)
    try {
      await this.read(file)
      return file
    } catch (error) {
      if (isMissing(error)) return null
      throw new Error(`$ref "${shown(ref.written)}": ${messageOf(error)}`, { cause: error })
    }
  }

  /** Absolute `$id` -> file, of every schema file in the directory. Files that cannot be read are no concern of ours here. */
  #idsOfFiles(): Promise<ReadonlyMap<string, string>> {
    this.#byId ??= this.#searchIds()
    return this.#byId
  }

  async #searchIds(): Promise<ReadonlyMap<string, string>> {
    const names = (await readdir(this.#dir, { recursive: true })).filter((name) => name.endsWith(".json"))
    const found = new Map<string, string>()
    for (const name of names.sort().slice(0, maxSearchedFiles)) {
      const file = name.replaceAll("\\", "/")
      const read = await this.read(file).catch(() => null)
      if (read && !found.has(read.uri)) found.set(read.uri, file)
    }
    return found
  }
}

function parseSchema(bytes: Buffer): SchemaFile["schema"] {
  let schema: unknown
  try {
    schema = JSON.parse(bytes.toString("utf8").replace(/^\ufeff/, ""))
  } catch (error) {
    throw new Error(`is not JSON: ${messageOf(error)}`, { cause: error })
  }
  if (typeof schema === "boolean" || isRecord(schema)) return schema
  throw new Error("is not a JSON Schema: it must be an object or a boolean")
}

function draftOf(schema: SchemaFile["schema"]): Draft | null {
  if (typeof schema === "boolean" || schema.$schema === undefined) return null
  const draft = typeof schema.$schema === "string" ? drafts.get(schema.$schema.replace(/#$/, "")) : undefined
  if (draft) return draft
  throw new Error(`$schema ${shown(JSON.stringify(schema.$schema))} is not supported: draft-07 and 2020-12 are`)
}

function isMetaSchema(target: string, draft: Draft): boolean {
  return draft === "draft-07"
    ? target === "http://json-schema.org/draft-07/schema"
    : target.startsWith("https://json-schema.org/draft/2020-12/")
}

function isOutside(file: string): boolean {
  const normal = posix.normalize(file)
  return normal === ".." || normal.startsWith("../") || posix.isAbsolute(normal) || normal.includes("\0")
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT"
}

/** A sentence for any error; those of the file system carry the path, which our caller names already. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ("syscall" in error && "code" in error) return `cannot be read (${String(error.code)})`
  return error.message
}

function shown(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
