import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { dirname, join } from "node:path"
import { makeWorld, type World } from "../e2e/world.ts"
import { auditHome, type FaultyVm, type Fleet, finish, journalsClosed, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { awaitTidy, digestOf } from "./outcome.ts"
import type { Random } from "./random.ts"

const vmCount = 4
let port = 50_000
const fresh = (): string => `port: ${++port}\n`

faultRun({ id: "R18", name: "the file is edited by hand during the push", ci: 50, nightly: 200 }, async (run) => {
  const fleet = await makeFleet({ vms: vmCount })
  const outcomes = new Map<string, number>()
  try {
    await run.rounds(async ({ index, random }) => {
      const vm = fleet.vms[index % vmCount]
      assert.ok(vm)
      const end = await editDuring(run, fleet, vm, random)
      outcomes.set(end, (outcomes.get(end) ?? 0) + 1)
    })
    run.note([...outcomes].map(([end, count]) => `${count} ${end}`).join(", "))
    await finish(run, fleet)
  } finally {
    await fleet.close()
  }
})

/**
 * At a random request of the push somebody writes the file anew, in place or by a rename. What they wrote must not be lost.
 * One moment is left out: a rename between our second name for the file and our own rename, which the server does one right
 * after the other. What stood there for that moment has no name any more, and SFTP knows no exchange of two names: the
 * README tells of it.
 */
async function editDuring(run: FaultRun, { send }: Fleet, vm: FaultyVm, random: Random): Promise<string> {
  const before = readFileSync(vm.file, "utf8")
  const edit = `${fresh().trimEnd()} # by hand\n`
  const inPlace = random.int(2) === 0
  const at = vm.faults.messages.length + 1 + random.int(37)
  let seen = ""
  vm.faults.rule = ({ number, name }) => {
    if (number !== at) return null
    if (!inPlace && name === "posix-rename") return null
    seen = name
    if (!inPlace) writeFileSync(`${vm.file}.editor`, edit)
    if (inPlace) writeFileSync(vm.file, edit)
    else renameSync(`${vm.file}.editor`, vm.file)
    return null
  }
  const next = fresh()
  const answer = await send("PUT", vm.url, { yaml: next })
  vm.faults.clear()
  const now = readFileSync(vm.file, "utf8")
  const what = `edited ${inPlace ? "in place" : "by a rename"} at ${seen} (${at})`
  if (![before, edit, next].includes(now)) run.found("torn", `${what}: ${now} stands there`)
  if (seen !== "" && now !== edit && !(await isVersion(send, vm.vmId, edit)))
    run.found("lost", `${what}: what was edited is nowhere`)
  const isTold = answer.body.code === "concurrent_modification" && answer.status === 409
  if (answer.status !== 200 && !isTold) run.found("wrong outcomes", `${what}: ${answer.text}`)
  if (isTold && now !== edit) run.found("wrong outcomes", `${what}: 409, and ${now} stands there`)
  await awaitTidy(run, vm.file, what, 0)
  return `${answer.status}${seen === "" ? " before it was edited" : ""}`
}

async function isVersion(send: Fleet["send"], vmId: string, text: string): Promise<boolean> {
  const { body } = await send("GET", `/backups?vmId=${vmId}&limit=20`)
  return (body.items as readonly { digest: string }[]).some(({ digest }) => digest === digestOf(text))
}

const strangers: readonly (readonly [name: string, put: (file: string) => void])[] = [
  ["a symlink", (file) => symlinkSync("/app/elsewhere", file)],
  ["a FIFO", (file) => void execFileSync("mkfifo", [file])],
  ["a directory", (file) => mkdirSync(file)],
  ["nothing", () => {}],
]

faultRun({ id: "R19", name: "it becomes a symlink, FIFO or directory, or goes", ci: 24, nightly: 60 }, async (run) => {
  const fleet = await makeFleet({ vms: vmCount })
  try {
    await run.rounds(async ({ index, random }) => {
      const vm = fleet.vms[index % vmCount]
      const stranger = strangers[index % strangers.length]
      assert.ok(vm && stranger)
      await becomes(run, fleet, vm, random, stranger)
    })
    for (const { file } of fleet.vms) {
      rmSync(file, { recursive: true, force: true })
      writeFileSync(file, fresh())
    }
    await finish(run, fleet)
  } finally {
    await fleet.close()
  }
})

faultRun(
  { id: "R19", name: "the same under a real sshd, whose server blocks at a FIFO", ci: 12, nightly: 40 },
  async (run) => {
    const world = await makeWorld()
    try {
      await run.rounds(async ({ index }) => {
        const stranger = strangers[index % strangers.length]
        assert.ok(stranger)
        await becameReally(run, world, stranger)
      })
      await journalsClosed(world.home.state, true)
      assert.equal(await world.service().stop(), 0)
      const file = world.file("vm01")
      rmSync(file, { recursive: true, force: true })
      auditHome(run, world.home, { files: { [file]: [null] }, mayTidy: true, log: world.service().lines })
    } finally {
      await world.close()
    }
  },
)

/** A path at which a regular file was seen is looked at and opened at once: what stands there now must not hold anybody up. */
async function becameReally(run: FaultRun, world: World, [name, put]: (typeof strangers)[number]): Promise<void> {
  const file = world.file("vm01")
  const other = world.file("vm01", "env")
  writeFileSync(other, "A=1\n")
  rmSync(file, { recursive: true, force: true })
  writeFileSync(file, fresh())
  assert.equal((await world.send("GET", "/vms/vm01/configs/central")).status, 200)
  rmSync(file)
  put(file)
  const begin = performance.now()
  const answers = await Promise.all([
    world.send("PUT", "/vms/vm01/configs/central", { yaml: fresh() }),
    world.send("GET", "/vms/vm01/configs/env"),
  ])
  const tookMs = performance.now() - begin
  // The connection that a FIFO has blocked is given up, with whatever else was under way on it.
  const ask = () => world.send("GET", "/vms/vm01/configs/env")
  const first = await ask()
  const again = first.body.code === "connection_lost" ? await ask() : first
  const expected = name === "nothing" ? 201 : 409
  if (answers[0].status !== expected) run.found("wrong outcomes", `${name}: ${answers[0].status} ${answers[0].text}`)
  if (again.status !== 200) run.found("wrong outcomes", `${name}: another file: ${again.status} ${again.text}`)
  if (tookMs > 1500) run.found("hangs", `${name}: answered after ${Math.round(tookMs)} ms`)
  if (kindOf(file) !== (name === "nothing" ? "a file" : name))
    run.found("lost", `${name}: ${kindOf(file)} stands there`)
}

/** Before the push, or at one of its requests before the rename. */
async function becomes(
  run: FaultRun,
  { send }: Fleet,
  vm: FaultyVm,
  random: Random,
  [name, put]: (typeof strangers)[number],
): Promise<void> {
  const { file, faults, url } = vm
  rmSync(file, { recursive: true, force: true })
  writeFileSync(file, fresh(), { mode: 0o640 })
  const elsewhere = join(dirname(file), "elsewhere")
  writeFileSync(elsewhere, "not to be touched\n")
  assert.equal((await send("GET", url)).status, 200)
  const at = random.int(16)
  const change = (): void => {
    rmSync(file)
    put(file)
  }
  if (at === 0) change()
  const number = faults.messages.length + at
  faults.rule = (message) => {
    if (message.number === number) change()
    return null
  }
  const begin = performance.now()
  const answer = await send("PUT", url, { yaml: fresh() })
  const tookMs = performance.now() - begin
  faults.clear()
  const what = `${name} at request ${at}`
  // The first requests ask where the file's directory leads and whether a file could stand there, the fourth looks at the file.
  const isCreated = answer.status === 201 && name === "nothing" && at <= 4
  if (!isCreated && answer.status !== 409 && answer.status !== 404)
    run.found("wrong outcomes", `${what}: ${answer.status} ${answer.text}`)
  if (tookMs > 1500) run.found("hangs", `${what}: answered after ${Math.round(tookMs)} ms`)
  if (readFileSync(elsewhere, "utf8") !== "not to be touched\n") run.found("lost", `${what}: the symlink was followed`)
  if (!isCreated && kindOf(file) !== name) run.found("lost", `${what}: ${kindOf(file)} stands there`)
  await awaitTidy(run, file, what)
}

function kindOf(file: string): string {
  if (!existsSync(file) && !isLink(file)) return "nothing"
  const stats = lstatSync(file)
  if (stats.isSymbolicLink()) return readlinkSync(file) === "/app/elsewhere" ? "a symlink" : "another symlink"
  return stats.isFIFO() ? "a FIFO" : stats.isDirectory() ? "a directory" : "a file"
}

function isLink(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() ?? false
}
