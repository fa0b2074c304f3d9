import { Inventory } from "../../src/domain/inventory.ts"
import { dayMs } from "../../src/domain/retention.ts"
import type { Version } from "../../src/domain/version.ts"
import { file } from "../fakes/memory-transport.ts"
import { live, type Rig, type RigOptions, withRig } from "./rig.ts"

/** A clock on the wall, and one that cannot be set; both go only when they are told to. */
export class TestClock {
  #wallMs = Date.UTC(2026, 0, 1)
  #ranMs = 0
  readonly clock = (): Date => new Date(this.#wallMs)
  readonly monotonic = (): number => this.#ranMs

  /** Time passes. */
  pass(days: number): void {
    this.#wallMs += days * dayMs
    this.#ranMs += days * dayMs
  }

  /** Somebody sets the clock on the wall, or the service did not run for so long. */
  set(byDays: number): void {
    this.#wallMs += byDays * dayMs
  }
}

/** Runs a test on a rig whose time goes only when it is told to. */
export function withClock(
  work: (rig: Rig, time: TestClock) => Promise<void>,
  { instead, ...options }: RigOptions = {},
): Promise<void> {
  const time = new TestClock()
  const { clock, monotonic } = time
  const given: RigOptions = {
    files: { [live]: file("n: 0\n") },
    ...options,
    instead: (parts) => ({ clock, monotonic, ...instead?.({ ...parts, clock, monotonic }) }),
  }
  return withRig(given, async (rig) => {
    // As at a start: from here on the time that passes is seen.
    await rig.retentionClock.now()
    await work(rig, time)
  })
}

/** Puts `count` contents in place, one a day; each is a version, and what stood there before the first is one too. */
export async function putDaily(rig: Rig, time: TestClock, count: number): Promise<void> {
  for (let n = 1; n <= count; n += 1) {
    await rig.put(`n: ${n}\n`)
    time.pass(1)
  }
}

/** Digests say little: versions by what stands in them, newest first. */
export async function contentsOf(rig: Rig): Promise<readonly string[]> {
  const versions = await rig.versions()
  return Promise.all(versions.map(async (version) => (await rig.blobs.open(version)).bytes.toString().trim()))
}

export async function idOf(rig: Rig, content: string): Promise<string> {
  const contents = await contentsOf(rig)
  const versions: readonly Version[] = await rig.versions()
  return versions[contents.indexOf(content)]?.backupId ?? `no version holds ${content}`
}

/** As a reload does that takes all VMs away, and its undoing. */
export function leaveSettings(rig: Rig): () => Promise<void> {
  const { inventory } = rig.settings
  rig.settings.inventory = new Inventory([], inventory.types, new Map())
  return async () => {
    rig.settings.inventory = inventory
    await rig.versionNotes.takeStock()
  }
}
