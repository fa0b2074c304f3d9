import { Fault } from "../domain/fault.ts"

/** `EFBIG`: the limit of a file's size (ulimit -f, LimitFSIZE). */
const full: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"])

/** What to do, by the error of the file system. */
const advice: Readonly<Record<string, string>> = {
  ENOENT: "The directory is gone: see whether its file system is mounted.",
  EROFS: "Its file system is read-only: mount it writable.",
  EACCES: "Give the service's user write access to it.",
  EPERM: "Give the service's user write access to it.",
  EMFILE: "The process has no file descriptor left: raise its limit (ulimit -n, LimitNOFILE).",
  ENFILE: "The machine has no file descriptor left.",
  EEXIST: "A version of that id stands there already.",
  EIO: "The disk reports errors: see the kernel's log.",
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
    `The backups in ${location} cannot be read or written (${code}). ${advice[code] ?? "See the file system it stands on."}`,
    { cause: error },
  )
}

function errnoOf(error: unknown): string | null {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) && !code.startsWith("ERR_") ? code : null
}
