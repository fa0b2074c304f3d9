import { constants } from "node:fs"
import { type FileHandle, open } from "node:fs/promises"
import { SettingsError } from "./mistakes.ts"

/** A settings file for 50 000 VMs has some 10 MB. */
const maxBytes = 16 * 1024 * 1024

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "does not exist; expected the settings there, or another place by --config FILE or CONFIG_MANAGER_CONFIG",
  EACCES: "cannot be read by the user the service runs as; expected read permission",
  EPERM: "cannot be read by the user the service runs as; expected read permission",
  ENOTDIR: "does not exist: a part of its path is not a directory; expected the settings there",
}

/** Reads the settings file as text. @throws {SettingsError} */
export async function readSettingsText(path: string): Promise<string> {
  const refuse = (text: string, cause?: unknown) => new SettingsError(path, [{ path: [], text, line: null }], { cause })
  let handle: FileHandle | undefined
  try {
    // O_NONBLOCK: opening a FIFO without a writer would wait for ever.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stats = await handle.stat()
    if (!stats.isFile()) throw refuse("is not a regular file; expected a YAML file")
    if (stats.size > maxBytes) throw refuse(`has ${stats.size} bytes; expected at most ${maxBytes}`)
    return new TextDecoder("utf-8", { fatal: true }).decode(await handle.readFile())
  } catch (error) {
    if (error instanceof SettingsError) throw error
    const code = codeOf(error)
    if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") throw refuse("is not UTF-8; expected UTF-8 text", error)
    throw refuse(reasons[code] ?? `cannot be read (${code}); expected a readable YAML file`, error)
  } finally {
    await handle?.close()
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown error"
}
