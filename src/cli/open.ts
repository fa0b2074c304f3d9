import { readFile } from "node:fs/promises"
import type { BlobHeader } from "../domain/blob-store.ts"
import { digestOf } from "../domain/digest.ts"
import { isFault } from "../domain/fault.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

export interface OpenParts {
  /** The sealed file. */
  readonly path: string
  /** @throws {Fault} `backup_corrupt`, `backup_key_unavailable` */
  readonly open: (
    path: string,
    sealed: Buffer,
  ) => Promise<{ readonly header: BlobHeader | null; readonly bytes: Buffer; readonly keyId: string }>
  readonly output: Output
  /** Writes all of it; resolves with false when nobody reads any more. */
  readonly write: (bytes: Buffer) => Promise<boolean>
}

/** `config-manager open`: the bytes to stdout as they stood on the VM, and what is known of them to stderr. */
export async function openCommand({ path, open, output, write }: OpenParts): Promise<number> {
  try {
    const { header, bytes, keyId } = await open(path, await readFile(path))
    output.err(header ? factsOf(header, bytes, keyId) : legacyFacts(bytes, keyId))
    return (await write(bytes)) ? exitCodes.ok : exitCodes.failed
  } catch (error) {
    output.err(`${path}: ${sentenceOf(error)}\n`)
    return exitCodes.failed
  }
}

function factsOf(header: BlobHeader, bytes: Buffer, keyId: string): string {
  return linesOf({
    vm: header.vm_id,
    type: header.type,
    path: header.path,
    mode: header.mode.toString(8).padStart(4, "0"),
    owner: `${header.uid}:${header.gid}`,
    time: header.created_at,
    size: `${bytes.length} bytes`,
    digest: digestOf(bytes),
    trigger: header.trigger,
    reason: header.reason,
    actor: header.actor,
    operation: header.operation_id,
    backup: header.backup_id,
    key: keyId,
  })
}

function legacyFacts(bytes: Buffer, keyId: string): string {
  const format = "a backup of the original service: the value of a config as JSON, or its text"
  return linesOf({ format, size: `${bytes.length} bytes`, digest: digestOf(bytes), key: keyId })
}

/** A file may hold anything: no control character of it gets to the terminal. */
function linesOf(facts: Readonly<Record<string, string | null>>): string {
  const lines = Object.entries(facts).map(([name, value]) => {
    return `${`${name}:`.padEnd(11)}${value === null ? "-" : value.replaceAll(/\p{C}/gu, "?")}\n`
  })
  return lines.join("")
}

function sentenceOf(error: unknown): string {
  if (isFault(error)) return error.message
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  if (code === "ENOENT") return "there is no such file."
  if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return `the file cannot be read (${code}).`
  throw error
}
