import { itemsOf } from "../../src/domain/catalog.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { Version } from "../../src/domain/version.ts"
import { edit, ref } from "../services/rig.ts"
import { type DiskRig, makeDiskRig } from "./disk-rig.ts"
import { type FaultRun, faultRun } from "./frame.ts"

const hour = 3_600_000
const year = 365 * 24 * hour

/** What a clock does all of a sudden, from where it stands. */
const jumps = {
  "an hour ahead": (now: number) => now + hour,
  "an hour back": (now: number) => now - hour,
  "ten years ahead": (now: number) => now + 10 * year,
  "a year back": (now: number) => now - year,
  "stands still": (now: number) => now,
}

faultRun({ id: "R7", name: "the clock jumps or stands still", ci: 10, nightly: 30 }, async (run) => {
  await run.rounds(async ({ random }) => {
    const clock = { now: Date.now() }
    const disk = await makeDiskRig({ instead: () => ({ clock: () => new Date(clock.now) }) })
    const texts: string[] = []
    try {
      for (let step = 0; step < 12; step++) {
        const name = random.pick(Object.keys(jumps) as (keyof typeof jumps)[])
        clock.now = jumps[name](clock.now)
        const text = `n: ${step}\n`
        // Now and then somebody else changes the file first, so that two versions begin at once.
        if (random.int(2) === 0) {
          edit(disk.rig, `by: hand ${step}\n`)
          texts.push(`by: hand ${step}\n`)
        }
        await disk.rig.put(text)
        texts.push(text)
        await auditPurge(run, disk, name)
        // The clock goes on by itself, but where it stands still.
        if (name !== "stands still") clock.now += 1 + random.int(5000)
      }
      await auditOrder(run, disk, texts)
      await disk.quiet()
      disk.audit(run, [texts.at(-1) ?? null], { acknowledged: texts })
    } finally {
      await disk.close()
    }
  })
})

/** However late it seems to be, what was made a moment ago has not stood for ninety days. */
async function auditPurge(run: FaultRun, { rig }: DiskRig, jump: string): Promise<void> {
  const { removed } = await rig.retention.purge({ dryRun: false, force: true })
  if (removed.length > 0) run.found("lost", `${removed.length} versions were purged: ${jump}`)
}

async function auditOrder(run: FaultRun, { rig }: DiskRig, texts: readonly string[]): Promise<void> {
  const versions = [...(await rig.versions())].reverse()
  const contents = await Promise.all(versions.map(async (each) => (await rig.backups.content(each.backupId)).bytes))
  const found = contents.map((bytes) => bytes.toString())
  if (found.slice(-texts.length).join() !== texts.join())
    run.found("wrong outcomes", `versions stand as ${found.join()}, made as ${texts.join()}`)
  const times = versions.map(({ validFrom }: Version) => validFrom)
  if (!isRising(times)) run.found("wrong outcomes", `validFrom does not rise: ${times.join(", ")}`)
  for (const [index, { supersededAt }] of versions.entries()) {
    const next = versions[index + 1]?.validFrom ?? null
    if (supersededAt !== next) run.found("wrong outcomes", `superseded at ${supersededAt}, the next begins at ${next}`)
  }
  const operations = itemsOf<Operation>(await rig.operations.list({}, { limit: 500, cursor: null }))
  const ids = operations.map(({ operationId }) => operationId).reverse()
  if (!isRising(ids)) run.found("wrong outcomes", `operation ids do not rise: ${ids.join(", ")}`)
  const newest = await rig.catalog.newestVersion(ref)
  if (newest?.backupId !== versions.at(-1)?.backupId) run.found("wrong outcomes", "the newest is not the last")
}

function isRising(values: readonly string[]): boolean {
  return values.every((value, index) => index === 0 || value > (values[index - 1] ?? ""))
}
