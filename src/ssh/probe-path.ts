import { randomBytes } from "node:crypto"
import { Fault, isFault } from "../domain/fault.ts"
import type { Check, PathProbe, ReadOptions, RemoteFile } from "../domain/transport.ts"
import { directoryOf, type Remote, readFile, statOrNull } from "./read-file.ts"
import { stageFile } from "./stage-file.ts"
import { removeStaleProbes } from "./stale-probes.ts"
import { removeFiles, renameFile } from "./swap-file.ts"

/** Less than this on a VM's file system is worth a warning. */
const enoughBytes = 16 * 1024 * 1024

const probeBytes = Buffer.from("probe")

type ProbeOptions = ReadOptions & { readonly keepOwner: boolean }

/** `Session.probe`: tries what a push would do, on a file of its own beside the live one. */
export async function probePath(remote: Remote, path: string, options: ProbeOptions): Promise<PathProbe> {
  const checks: Check[] = []
  const check = async (name: string, attempt: () => Promise<string>) => {
    const startedAt = performance.now()
    const { ok, detail } = await attempt().then(
      (detail) => ({ ok: true, detail }),
      (error: unknown) => {
        if (!(error instanceof Fault) || remote.connection.fault) throw error
        return { ok: false, detail: error.message }
      },
    )
    checks.push({ name, ok, detail, durationMs: Math.round(performance.now() - startedAt) })
  }
  let live: RemoteFile | null = null
  await check("file", async () => {
    live = await readFile(remote, path, options)
    // Where it is not followed, the look at it has said so.
    if (!live && options.followSymlinks && (await statOrNull(remote.connection.sftp, path))) {
      throw new Fault("not_a_regular_file", `${path} is a symlink that leads to nothing.`)
    }
    return live
      ? `${path} is a regular file of ${live.bytes.length} bytes.`
      : `${path} does not exist; it can be created.`
  })
  const found = live as RemoteFile | null
  const target = found?.realPath ?? path
  await check("directory", () => tryDirectory(remote, target))
  if (found) await check("owner", () => tryOwner(remote, target, found, options.keepOwner))
  await check("space", () => tellSpace(remote, target))
  return { checks }
}

/** Creates, renames and removes a file: everything a push needs of the directory. What earlier checks have left goes too. */
async function tryDirectory(remote: Remote, path: string): Promise<string> {
  const { sftp } = remote.connection
  const [probe, renamed] = [probePathBeside(path), probePathBeside(path)]
  try {
    await stageFile(remote, probe, { bytes: probeBytes, mode: 0o600, owner: null, keepOwner: false }, undefined)
    const made = await statOrNull(sftp, probe)
    await renameFile(remote, probe, renamed)
    if (made) await removeStaleProbes(sftp, path, made.mtime, probeBytes.length)
  } finally {
    await removeFiles(remote, [probe, renamed]).catch(() => {})
  }
  return `Files can be created, renamed and removed in ${directoryOf(path)}.`
}

async function tryOwner(remote: Remote, path: string, live: RemoteFile, keepOwner: boolean): Promise<string> {
  const probe = probePathBeside(path)
  const { uid, gid } = live
  try {
    const file = { bytes: Buffer.alloc(0), mode: live.mode, owner: { uid, gid }, keepOwner: true }
    await stageFile(remote, probe, file, undefined)
    return `The owner ${uid}:${gid} can be kept.`
  } catch (error) {
    if (keepOwner || !isFault(error, "vm_permission_denied")) throw error
    return `The owner ${uid}:${gid} cannot be kept; keep_owner is off, so the file becomes the SSH user's.`
  } finally {
    await removeFiles(remote, [probe]).catch(() => {})
  }
}

async function tellSpace(remote: Remote, path: string): Promise<string> {
  const room = await remote.connection.sftp.room(directoryOf(path)).catch(() => null)
  if (!room) return "The VM does not tell how much space is left."
  if (room.readOnly) throw new Fault("write_failed", "The file system is read-only.")
  if (room.inodes > 0 && room.freeInodes === 0) throw new Fault("vm_disk_full", "The file system has no inode left.")
  const left = `${Math.floor(room.freeBytes / 1024 / 1024)} MiB are left.`
  if (room.freeBytes < enoughBytes) throw new Fault("vm_disk_full", `The file system is nearly full: ${left}`)
  return left
}

/** As long as the name of a staging file (`<path>.<operationId>.new`): where that is too long, a check is to find out. */
function probePathBeside(path: string): string {
  return `${path}.${randomBytes(17).toString("hex")}.probe`
}
