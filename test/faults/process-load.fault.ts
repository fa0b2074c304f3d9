import { readFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import Database from "better-sqlite3"
import { auditHome, type Fleet, finish, journalsClosed, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { checkFiles, type Load, startLoad } from "./load.ts"

const vms = 4
const writers = 8
const restartLimitMs = 2_000
const drainLimitMs = 15_000

faultRun({ id: "R2", name: "kill -9 at a random time under load", ci: 30, nightly: 300 }, async (run) => {
  const fleet = await makeFleet({ vms, timeoutSeconds: 5 })
  const starts: number[] = []
  const acknowledged: string[] = []
  try {
    await run.rounds(async ({ random }) => {
      const load = startLoad(fleet.send, fleet.vms, writers)
      await pause(50 + random.int(450))
      await fleet.service().kill()
      await load.over
      const { startedInMs } = await fleet.restart()
      starts.push(startedInMs)
      await settled(run, fleet, load, acknowledged)
    })
    run.note(`${acknowledged.length} writes acknowledged`)
    noteStarts(run, starts)
    await finish(run, fleet, { acknowledged })
  } finally {
    await fleet.close()
  }
})

faultRun({ id: "R29", name: "SIGTERM under load", ci: 10, nightly: 50 }, async (run) => {
  const fleet = await makeFleet({ vms, timeoutSeconds: 5 })
  const acknowledged: string[] = []
  let longestMs = 0
  try {
    await run.rounds(async ({ random }) => {
      const load = startLoad(fleet.send, fleet.vms, writers)
      await pause(100 + random.int(400))
      const begin = performance.now()
      const code = await fleet.service().stop()
      const tookMs = performance.now() - begin
      longestMs = Math.max(longestMs, tookMs)
      await load.over
      if (tookMs > drainLimitMs) run.found("hangs", `the drain took ${tookMs} ms`)
      if (code !== 0) run.found("wrong outcomes", `it ended with ${code}`)
      const open = openOperations(fleet)
      if (open.length > 0) run.found("wrong outcomes", `the drain left ${open.join(", ")}`)
      await fleet.restart()
      await settled(run, fleet, load, acknowledged)
    })
    run.note(`${acknowledged.length} writes acknowledged; the longest drain took ${Math.round(longestMs)} ms`)
    await finish(run, fleet, { acknowledged })
  } finally {
    await fleet.close()
  }
})

/** After a restart: everything ends, and what was acknowledged is there. */
async function settled(run: FaultRun, fleet: Fleet, load: Load, acknowledged: string[]): Promise<void> {
  await journalsClosed(fleet.home.state)
  checkFiles(run, load)
  acknowledged.push(...load.sent.flatMap((each) => each.acknowledged))
  const files = Object.fromEntries(fleet.vms.map(({ file }) => [file, [readFileSync(file)]]))
  auditHome(run, fleet.home, { files, acknowledged, log: fleet.service().lines })
}

function openOperations({ home }: Fleet): readonly string[] {
  const db = new Database(join(home.state, "catalog.db"), { readonly: true, fileMustExist: true })
  try {
    const sql = "SELECT kind || ' at ' || phase FROM operations WHERE phase NOT IN ('done', 'tidying')"
    return db.prepare<[], string>(sql).pluck().all()
  } finally {
    db.close()
  }
}

function noteStarts(run: FaultRun, starts: readonly number[]): void {
  const sorted = [...starts].sort((a, b) => a - b)
  const [median = 0, longest = 0] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)]
  run.note(`restart ${Math.round(median)} ms, the longest ${Math.round(longest)}`)
  if (median > restartLimitMs) run.found("hangs", `a restart took ${Math.round(median)} ms`)
}
