import { Fault } from "../domain/fault.ts"
import type { Located } from "../domain/inventory.ts"
import type { RemoteFile, Session } from "../domain/transport.ts"
import { type Comparison, readOptions } from "./push-plan.ts"
import { standingOf } from "./version-keeper.ts"

/** What stands at a config's path. */
export interface LiveLook {
  /** null: nothing. */
  readonly file: RemoteFile | null
  /** The file itself, or the place where it is to be created: no symlink that is led elsewhere later makes it another. */
  readonly realPath: string
}

/** Step 1 of DESIGN 3.2. A new place takes one round trip more than a file that stands. @throws {Fault} as Session.read */
export async function lookAtLive(session: Session, located: Located, signal: AbortSignal): Promise<LiveLook> {
  const { path } = located
  const options = readOptions(located)
  const file = await session.read(path, options, signal)
  if (file) return { file, realPath: file.realPath }
  const [realPath, isTaken] = await Promise.all([
    session.realPathOf(path, signal),
    options.followSymlinks ? session.exists(path, signal) : false,
  ])
  // Nothing is created behind it, nor in its place.
  if (isTaken) throw new Fault("not_a_regular_file", `${path} is a symlink that leads to nothing.`)
  return { file: null, realPath }
}

/** Step 7: whether the live file is still the one that was read, or its place still where nothing stood. */
export async function standsAsSeen(
  session: Session,
  located: Located,
  { live, realPath }: Comparison,
  signal: AbortSignal,
): Promise<boolean> {
  const { path } = located
  const options = readOptions(located)
  // By the config's own path: a symlink that is followed must still lead to the file that was read, one that came must not.
  const followSymlinks = live !== null && options.followSymlinks
  const [now, place] = await Promise.all([
    session.read(path, { ...options, followSymlinks }, signal),
    live === null ? session.realPathOf(path, signal) : null,
  ])
  if (live === null || now === null) return live === now && place === realPath
  const { digest, mode, uid, gid } = standingOf(now)
  const isSame = digest === live.digest && mode === live.mode && uid === live.uid && gid === live.gid
  return isSame && now.realPath === realPath
}
