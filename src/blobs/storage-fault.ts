import { isAbsolute, relative } from "node:path"
import { Fault } from "../domain/fault.ts"
import type { FsPort } from "./fs-port.ts"

/** `EFBIG`: the limit of a file's size (ulimit -f, LimitFSIZE). */
const full: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"])

/** What to do, by the error of the file system. */
const advice: Readonly<Record<string, string>> = {
  ENOENT: "The directory is gone: see whether its file system is mounted.",
  EROFS: "Its file system is read-only: mount it writable.",
  EACCES: "Give the service's user access to it, to read and to write.",
  EPERM: "Give the service's user access to it, to read and to write.",
  EMFILE: "The process has no file descriptor left: raise its limit (ulimit -n, LimitNOFILE).",
  ENFILE: "The machine has no file descriptor left.",
  EEXIST: "A version of that id stands there already.",
  EIO: "The disk reports errors: see the kernel's log.",
}

/** Whether the file system refuses this user something. */
export function isRefused(error: unknown): boolean {
  return refused.has(errnoOf(error) ?? "")
}

const refused: ReadonlySet<string> = new Set(["EACCES", "EPERM"])

/** A directory that is closed says nothing about one version: that is told of the store, with its name. */
export async function mayUse(fs: FsPort, directory: string): Promise<boolean> {
  return fs.access(directory).then(
    () => true,
    () => false,
  )
}

export function isStorageFull(error: unknown): boolean {
  return full.has(errnoOf(error) ?? "")
}

/** An error of the file system as the fault that a client is told. Faults, and what is no error of the file system, stay as they are. */
export function storageFault(error: unknown, location: string): unknown {
  const code = errnoOf(error)
  if (error instanceof Fault || code === null) return error
  if (full.has(code)) {
    return new Fault("storage_full", `There is no room left in ${location} (${code}). Free some, or raise the quota.`, {
      cause: error,
    })
  }
  return new Fault(
    "backup_storage_unavailable",
    `The backups in ${location} cannot be read or written (${code}${nameBelow(location, error)}). ` +
      (advice[code] ?? "See the file system it stands on."),
    { cause: error },
  )
}

/** Below a directory of thousands, which of them is refused; a temporary name says nothing. */
function nameBelow(location: string, error: unknown): string {
  const { path } = error as NodeJS.ErrnoException
  if (!isRefused(error) || typeof path !== "string") return ""
  const name = isAbsolute(path) ? relative(location, path) : path
  const isBelow = name !== "" && !name.startsWith("..") && !name.endsWith(".tmp")
  return isBelow ? `: ${name}` : ""
}

function errnoOf(error: unknown): string | null {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) && !code.startsWith("ERR_") ? code : null
}
