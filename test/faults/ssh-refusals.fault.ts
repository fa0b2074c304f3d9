import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { chmodSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { standing } from "../e2e/world.ts"
import { isRoot } from "../support/sshd.ts"
import { type FaultyVm, type Fleet, finish, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { awaitTidy } from "./outcome.ts"
import type { Message } from "./sftp-faults.ts"

const vmCount = 4

/** A VM that says no: to which requests, how, and what the caller must be told. */
interface Refusal {
  readonly name: string
  readonly refuses: (message: Message) => boolean
  readonly status: number
  readonly text?: string
  readonly code: string
}

const isNew = ({ path }: Message): boolean => path.endsWith(".new")
const permission = 3
const failure = 4

const refusals: readonly Refusal[] = [
  {
    name: "no permission to create",
    refuses: (message) => message.name === "open" && isNew(message),
    status: permission,
    code: "vm_permission_denied",
  },
  {
    name: "no permission to rename",
    refuses: ({ name }) => name === "posix-rename",
    status: permission,
    code: "vm_permission_denied",
  },
  {
    name: "no permission to give the owner",
    refuses: ({ name }) => name === "fsetstat",
    status: permission,
    code: "vm_permission_denied",
  },
  {
    name: "no permission to read",
    refuses: ({ name, path }) => name === "open" && path.endsWith(".yml"),
    status: permission,
    code: "vm_permission_denied",
  },
  {
    name: "disk full, and said so",
    refuses: ({ name }) => name === "write",
    status: failure,
    text: "No space left on device",
    code: "vm_disk_full",
  },
  { name: "disk full, at fsync", refuses: ({ name }) => name === "fsync", status: failure, code: "vm_disk_full" },
  {
    name: "quota, while there is room",
    refuses: ({ name }) => name === "write",
    status: failure,
    code: "vm_disk_full",
  },
  {
    name: "failure to create",
    refuses: (message) => message.name === "open" && isNew(message),
    status: failure,
    code: "write_failed",
  },
  { name: "failure to rename", refuses: ({ name }) => name === "posix-rename", status: failure, code: "write_failed" },
  { name: "links refused", refuses: ({ name }) => name === "hardlink", status: failure, code: "" },
]

faultRun({ id: "R17", name: "the VM refuses: permission, disk full, quota", ci: 10, nightly: 20 }, async (run) => {
  const fleet = await makeFleet({ vms: vmCount })
  try {
    await run.rounds(async ({ index }) => {
      const vm = fleet.vms[index % vmCount]
      const refusal = refusals[index % refusals.length]
      assert.ok(vm && refusal)
      await refuse(run, fleet, vm, refusal)
    })
    await finish(run, fleet)
  } finally {
    await fleet.close()
  }
})

let port = 40_000
const fresh = (): string => `port: ${++port}\n`

async function refuse(
  run: FaultRun,
  { send }: Fleet,
  vm: FaultyVm,
  { name, refuses, status, text, code }: Refusal,
): Promise<void> {
  chmodSync(vm.file, 0o604)
  const before = standing(vm.file)
  const next = fresh()
  vm.faults.rule = (message) => (refuses(message) ? { how: "refuse", status, text } : null)
  const answer = await send("PUT", vm.url, { yaml: next })
  vm.faults.clear()
  const after = standing(vm.file)
  if (code === "") {
    assert.equal(answer.status, 200, `${name}: ${answer.text}`)
    assert.equal(after.bytes.toString(), next)
  } else {
    if (answer.body.code !== code || answer.body.fileState !== "unchanged")
      run.found("wrong outcomes", `${name}: ${answer.text}`)
    if (!after.bytes.equals(before.bytes)) run.found("torn", `${name}: ${after.bytes.toString()} stands there`)
  }
  const attributes = ({ mode, uid, gid }: typeof before) => `${mode} ${uid}:${gid}`
  if (attributes(after) !== attributes(before))
    run.found("wrong outcomes", `${name}: ${attributes(after)}, was ${attributes(before)}`)
  await awaitTidy(run, vm.file, name, 0)
}

faultRun(
  { id: "R17", name: "the VM's disk is really full, out of inodes, read-only", ci: 3, nightly: 9 },
  async (run) => {
    // Only root may mount: elsewhere the status codes above have to do.
    if (!isRoot) return run.note("not root, so not run")
    const fleet = await makeFleet({ vms: vmCount })
    const [vm] = fleet.vms
    assert.ok(vm)
    const folder = dirname(vm.file)
    mount(folder, "size=64k,nr_inodes=8")
    try {
      const disks = [fillDisk, takeInodes, remountReadOnly]
      await run.rounds(async ({ index }) => {
        const spoil = disks[index % disks.length] ?? assert.fail()
        writeFileSync(vm.file, fresh(), { mode: 0o640 })
        const before = standing(vm.file)
        const undo = spoil(folder)
        const text = `${fresh()}${"# as long as a page, so that it needs room of its own\n".repeat(100)}`
        const answer = await fleet.send("PUT", vm.url, { yaml: text })
        undo()
        const code = spoil === remountReadOnly ? "write_failed" : "vm_disk_full"
        if (answer.body.code !== code || answer.body.fileState !== "unchanged")
          run.found("wrong outcomes", `${spoil.name}: ${answer.text}`)
        assert.deepEqual(standing(vm.file), before, spoil.name)
        await awaitTidy(run, vm.file, spoil.name, 0)
        const again = await fleet.send("PUT", vm.url, { yaml: fresh() })
        assert.equal(again.status, 200, again.text)
      })
      await finish(run, fleet)
    } finally {
      execFileSync("umount", ["--lazy", folder])
      await fleet.close()
    }
  },
)

/** A small disk of its own for the VM's folder; needs root, as the runs of a VM's owner do. */
function mount(folder: string, options: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder])
}

function fillDisk(folder: string): () => void {
  const filler = join(folder, "filler")
  for (let size = 64 * 1024; size > 0; size -= 1024) {
    try {
      writeFileSync(filler, Buffer.alloc(size))
      break
    } catch {
      // Still too large: what was there already takes its part.
    }
  }
  return () => rmSync(filler)
}

function takeInodes(folder: string): () => void {
  const names: string[] = []
  try {
    for (;;) {
      const name = join(folder, `inode-${names.length}`)
      writeFileSync(name, "")
      names.push(name)
    }
  } catch {
    return () => names.forEach((name) => void rmSync(name))
  }
}

function remountReadOnly(folder: string): () => void {
  execFileSync("mount", ["-o", "remount,ro", folder])
  return () => execFileSync("mount", ["-o", "remount,rw", folder])
}
