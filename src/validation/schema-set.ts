import { createHash } from "node:crypto"
import type { SchemaInfo } from "../domain/document-validator.ts"
import { type Draft, isMissing, messageOf, type SchemaFile, SchemaFiles } from "./schema-files.ts"

/** What one Ajv instance is given. Plain data: it is sent to the worker. */
export interface SchemaPlan {
  readonly draft: Draft
  readonly documents: readonly { readonly file: string; readonly uris: readonly string[]; readonly schema: unknown }[]
  readonly types: readonly { readonly type: string; readonly file: string; readonly uri: string }[]
}

/** All schemas of the settings, read from disk and not yet compiled. */
export interface SchemaSet {
  readonly infos: readonly SchemaInfo[]
  readonly texts: ReadonlyMap<string, Buffer>
  readonly plans: readonly SchemaPlan[]
}

/** Thrown with one line per file that is missing or wrong. */
export class BrokenSchemas extends Error {
  constructor(lines: readonly string[]) {
    super(lines.join("\n"))
    this.name = "BrokenSchemas"
  }
}

interface Root {
  readonly type: string
  readonly file: SchemaFile
  readonly draft: Draft
  /** The file and all it refers to, with the URIs they are referred to by. */
  readonly closure: ReadonlyMap<SchemaFile, ReadonlySet<string>>
}

/** @param files type -> file under `dir`. @throws {BrokenSchemas} */
export async function readSchemas(dir: string, files: ReadonlyMap<string, string>): Promise<SchemaSet> {
  const reader = new SchemaFiles(dir)
  const lines = new Set<string>()
  const roots: Root[] = []
  for (const [type, file] of files) {
    try {
      roots.push(await readRoot(reader, type, file))
    } catch (error) {
      lines.add(
        isMissing(error)
          ? `config_schemas.${type}: ${file} does not exist; create it or set config_types.${type}.schema: none`
          : `config_schemas.${type}: ${error instanceof InFile ? error.message : `${file}: ${messageOf(error)}`}`,
      )
    }
  }
  if (lines.size > 0) throw new BrokenSchemas([...lines])
  return {
    infos: roots.map(infoOf).sort((a, b) => (a.type < b.type ? -1 : 1)),
    texts: new Map(roots.map((root) => [root.type, root.file.bytes])),
    plans: (["draft-07", "2020-12"] as const)
      .map((draft) => planOf(draft, roots))
      .filter((plan) => plan.types.length > 0),
  }
}

/** An error whose message names its file. */
class InFile extends Error {}

async function readRoot(reader: SchemaFiles, type: string, name: string): Promise<Root> {
  const file = await reader.read(name)
  const draft = file.draft ?? "2020-12"
  const closure = new Map<SchemaFile, Set<string>>([[file, new Set([file.uri])]])
  // A Map is iterated in the order of insertion, what is added on the way included.
  for (const current of closure.keys()) {
    for (const ref of current.walked.refs) {
      const next = await reader.follow(current, ref).catch((error: unknown) => {
        throw new InFile(`${current.file}: ${messageOf(error)}`, { cause: error })
      })
      if (!next) continue
      if (next.draft !== null && next.draft !== draft) {
        throw new InFile(
          `${current.file}: $ref to ${next.file} leads from ${draft} to ${next.draft}; a schema and all it refers to must be of one draft`,
        )
      }
      const uris = closure.get(next) ?? new Set([next.uri])
      closure.set(next, uris.add(ref.target))
    }
  }
  return { type, file, draft, closure }
}

function infoOf({ type, file, closure }: Root): SchemaInfo {
  const title = typeof file.schema === "object" && typeof file.schema.title === "string" ? file.schema.title : null
  return {
    type,
    file: file.file,
    digest: createHash("sha256").update(file.bytes).digest("hex"),
    title,
    hasSecrets: [...closure.keys()].some(({ walked }) => walked.hasSecrets),
  }
}

function planOf(draft: Draft, roots: readonly Root[]): SchemaPlan {
  const own = roots.filter((root) => root.draft === draft)
  const documents = new Map<SchemaFile, Set<string>>()
  for (const [file, uris] of own.flatMap((root) => [...root.closure])) {
    const known = documents.get(file) ?? new Set()
    documents.set(file, new Set([...known, ...uris]))
  }
  return {
    draft,
    documents: [...documents].map(([file, uris]) => ({ file: file.file, uris: [...uris], schema: absolute(file) })),
    types: own.map(({ type, file }) => ({ type, file: file.file, uri: file.uri })),
  }
}

/** The schema under its absolute URI; without `$schema`, as the instance it goes to stands for that. */
function absolute({ schema, uri }: SchemaFile): unknown {
  if (typeof schema === "boolean") return schema
  const { $schema: _draft, ...rest } = schema
  return { ...rest, $id: uri }
}
