import assert from "node:assert/strict"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type FailpointName, failpointNames } from "../../src/domain/failpoint.ts"
import { type Answer, itemsOf } from "../e2e/client.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { auditHome, type FaultyVm, type Fleet, finish, journalsClosed, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import type { Random } from "./random.ts"

const vmCount = 4
const restartLimitMs = 2_000

/** A change to send. `arrange` makes the VM what it must be for it. */
interface Change {
  readonly name: string
  readonly arrange: (vm: FaultyVm) => void
  readonly send: (fleet: Fleet, vm: FaultyVm, text: string) => Promise<Answer>
}

let number = 0
const fresh = (): string => `port: ${++number}\n`
let lastEdit = ""
const editByHand = ({ file }: FaultyVm): void => {
  lastEdit = fresh()
  writeFileSync(file, lastEdit, { mode: 0o640 })
}
/** What the restore under way is to put there. */
let restored = ""
const put =
  (query = "") =>
  ({ send }: Fleet, { url }: FaultyVm, text: string) =>
    send("PUT", url + query, { yaml: text })

const replace: Change = { name: "replace", arrange: editByHand, send: put() }
const create: Change = { name: "create", arrange: ({ file }) => rmSync(file, { force: true }), send: put() }
const notKept: Change = { name: "backup=false", arrange: editByHand, send: put("?backup=false") }
const backup: Change = {
  name: "POST /backups",
  arrange: editByHand,
  send: ({ send }, { vmId }) => send("POST", "/backups", { json: { vmId, type: "central" } }),
}
const restore: Change = {
  name: "restore",
  arrange: editByHand,
  send: async ({ send }, { vmId }) => {
    const [newest] = itemsOf(await send("GET", `/backups?vmId=${vmId}&limit=1`))
    const url = `/backups/${String(newest?.backupId)}`
    restored = (await send("GET", `${url}/content`, { headers: { accept: "application/yaml" } })).text
    return send("POST", `${url}/restore`)
  },
}
/** Between our last look and the rename: what the editor wrote is given back. */
const edited: Change = {
  name: "edited in the last moment",
  arrange: (vm) => {
    editByHand(vm)
    let isEdited = false
    vm.faults.rule = ({ name }) => {
      // Once: giving the edit back gives what stands there a second name as well.
      if (name === "hardlink" && !isEdited) editByHand(vm)
      isEdited ||= name === "hardlink"
      return null
    }
  },
  send: put(),
}
const refused: Change = {
  name: "refused by the VM",
  arrange: (vm) => {
    editByHand(vm)
    vm.faults.rule = ({ name }) => (name === "posix-rename" ? { how: "refuse", status: 4 } : null)
  },
  send: put(),
}

/** Passed once for each blob. */
const twice: ReadonlySet<FailpointName> = new Set(["blobs.temp", "blobs.placed"])
const writing = [replace, create, restore, notKept] as const
const blobMaking = [...writing, backup] as const
const ending = [...writing, edited, refused] as const

/** Which changes pass which point. */
const changesAt: Readonly<Record<FailpointName, readonly Change[]>> = {
  prepared: writing,
  "blobs.temp": blobMaking,
  "blobs.placed": blobMaking,
  "blobs.kept": blobMaking,
  kept: writing,
  staged: writing,
  looked: writing,
  swapped: writing,
  rolling_back: [edited],
  put_back: [edited],
  old_removed: writing,
  done: ending,
  "blobs.removing": [notKept, edited, refused],
}

faultRun(
  { id: "R1", name: "kill -9 at each step, then a restart", ci: 200, nightly: 1000, limitMs: 600_000 },
  async (run) => {
    const dir = makeTemporary("kill")
    const order = join(dir, "kill-at")
    const fleet = await makeFleet({ vms: vmCount, timeoutSeconds: 5, flags: ["--kill-file", order] })
    const starts: number[] = []
    try {
      await run.rounds(async ({ index, random }) => {
        starts.push(await killOnce(run, { fleet, order, index, random }))
      })
      const sorted = starts.sort((a, b) => a - b)
      const median = sorted[Math.floor(sorted.length / 2)] ?? 0
      run.note(
        `${failpointNames.length} points; restart ${Math.round(median)} ms, the longest ${Math.round(sorted.at(-1) ?? 0)}`,
      )
      if (median > restartLimitMs) run.found("hangs", `a restart took ${Math.round(median)} ms`)
      await finish(run, fleet)
    } finally {
      await fleet.close()
      await removeTemporary(dir)
    }
  },
)

interface Round {
  readonly fleet: Fleet
  /** The file that tells the service where to end. */
  readonly order: string
  readonly index: number
  readonly random: Random
}

/** @returns ms that the start after the kill took */
async function killOnce(run: FaultRun, { fleet, order, index, random }: Round): Promise<number> {
  const point = failpointNames[index % failpointNames.length] ?? "prepared"
  const change = random.pick(changesAt[point])
  const vm = fleet.vms[random.int(vmCount)]
  assert.ok(vm)
  // A replaced file makes two blobs: that which was found, and the new one.
  const passing = change === replace && twice.has(point) ? 1 + random.int(2) : 1
  const what = `${change.name} killed at ${point} (${passing})`

  change.arrange(vm)
  const before = existsSync(vm.file) ? readFileSync(vm.file, "utf8") : null
  const text = fresh()
  writeFileSync(order, `${point} ${passing}`)
  const answer = await change.send(fleet, vm, text).catch(() => null)
  // Nobody waits for what is removed behind a change, but a stop does: there the process ends before it could stop.
  const isPassed = answer === null || (point === "blobs.removing" && (await fleet.service().stop()) === null)
  rmSync(order)
  if (!isPassed) run.found("wrong outcomes", `${what}: not passed, answered ${answer.status} ${answer.text}`)
  await fleet.service().kill()
  vm.faults.clear()

  const { startedInMs } = await fleet.restart()
  await journalsClosed(fleet.home.state)
  await check(run, fleet, vm, { what, before, text, change })
  return startedInMs
}

/** What stands there is what the operation says, and nothing but that and its versions is left. */
async function check(
  run: FaultRun,
  fleet: Fleet,
  { vmId, file }: FaultyVm,
  { what, before, text, change }: { what: string; before: string | null; text: string; change: Change },
): Promise<void> {
  const [operation = {}] = itemsOf(await fleet.send("GET", `/operations?vmId=${vmId}&limit=1`))
  const now = existsSync(file) ? readFileSync(file, "utf8") : null
  const isOld = now === before
  const isNew = change === restore ? now === restored : now === text
  const isEdit = change === edited && now === lastEdit
  const end = String(operation.state)
  const fits =
    change === backup
      ? isOld
      : end === "succeeded"
        ? isNew
        : end === "failed" || end === "rolled_back"
          ? isOld || isEdit
          : false
  if (!isOld && !isNew && !isEdit) run.found("torn", `${what}: ${JSON.stringify(now)} stands there`)
  else if (!fits) run.found("wrong outcomes", `${what}: ${end}, and ${JSON.stringify(now)} stands there`)
  // What was found is a version wherever the new bytes have taken its place, unless the caller wanted none.
  const wanted = isNew && before !== null && change !== notKept ? [before] : []
  auditHome(run, fleet.home, { files: { [file]: [now] }, acknowledged: wanted, log: fleet.service().lines })
}
