import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { OpenOptions, Transport } from "../../src/domain/transport.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, live, lost, makeRig, path, type Rig, type RigOptions, refusal, tidied } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"

type Rights = Omit<OpenOptions, "signal">

/** A VM that lets in, and to its files, as root or as the SSH user alone. */
function requiring(transport: Transport, isEnough: (rights: Rights) => boolean): Transport {
  return {
    open: async (vm, options) => {
      const session = await transport.open(vm, options)
      if (isEnough(options)) return session
      if (options.become) throw new Fault("vm_permission_denied", "sudo asks for a password.")
      const deny = (): Promise<never> => Promise.reject(new Fault("vm_permission_denied", "The VM denied it."))
      return Object.assign(session, { read: deny, remove: deny })
    },
    check: (vm, signal) => transport.check(vm, signal),
    retain: (vms) => transport.retain(vms),
    close: () => transport.close(),
  }
}

const given = { files: { [live]: file(old, 0o640) }, timeoutMs: 500 }

/** The answer to the rename of a change under the settings `before` is lost, and the service ends. */
async function loseChange(before: Partial<ConfigType>, isDone: boolean, lateLooksMs: readonly number[]): Promise<Rig> {
  const rig = await makeRig({ ...given, type: before, lateLooksMs })
  rig.transport.failNext("swap", lost(), { applied: isDone })
  rig.transport.onStep("swap", () => void rig.transport.unreachable.add("vm01"))
  assert.equal((await refusal(rig.put(next))).code, "outcome_unknown")
  await rig.stop()
  rig.transport.unreachable.clear()
  return rig
}

/** Starts the service again. */
function restart(rig: Rig, isEnough: (rights: Rights) => boolean, options: RigOptions): Promise<Rig> {
  const instead: RigOptions["instead"] = ({ transport }) => ({ transport: requiring(transport, isEnough) })
  return makeRig({ ...given, ...options, after: rig, instead })
}

suite("A type whose rights are others in the settings before an outcome is known", () => {
  const sftpServer = "/usr/libexec/sftp-server"
  const cases: readonly [string, Partial<ConfigType>, Partial<ConfigType>, (rights: Rights) => boolean][] = [
    ["sudo was taken away", { become: true }, { become: false }, ({ become }) => !become],
    ["sudo is needed by now", { become: false }, { become: true }, ({ become }) => become],
    [
      "sftp-server stands elsewhere by now",
      { become: true },
      { become: true, sftpServer },
      (rights) => rights.sftpServer === sftpServer,
    ],
    ["it is reached as it was, and no more as the settings say", { become: true }, {}, ({ become }) => become],
  ]
  for (const [what, before, after, isEnough] of cases) {
    for (const isDone of [true, false]) {
      test(`does not keep it from being found out: ${what}, ${isDone ? "the rename done" : "the rename not done"}`, async () => {
        const rig = await loseChange(before, isDone, [])
        const again = await restart(rig, isEnough, { type: after })
        await again.resolver.takeUp()
        const { fileState } = await again.end(() => true)
        assert.deepEqual([fileState, again.text()], isDone ? ["written", next] : ["unchanged", old])
        await audit(again)
        await again.stop()
        await again.remove()
      })
    }

    test(`does not keep what comes late on the VM: ${what}`, async () => {
      const rig = await loseChange(before, false, [60_000])
      const again = await restart(rig, isEnough, { type: after, lateLooksMs: [60_000] })
      await again.resolver.takeUp()
      const { operationId } = await again.end(() => true)
      await again.stop()
      again.transport.files.set(`${live}.${operationId}.new`, file("", 0o600))
      const third = await restart(again, isEnough, { type: after, lateLooksMs: [0] })
      await third.resolver.takeUp()
      await tidied(third)
      await audit(third)
      await third.stop()
      await third.remove()
    })
  }

  test("counts as it was where it has left the settings", async () => {
    const rig = await loseChange({ become: true }, true, [])
    const again = await restart(rig, ({ become }) => become, {})
    again.settings.inventory = new Inventory(again.settings.inventory.vms, [], new Map([["app", { default: path }]]))
    await again.resolver.takeUp()
    assert.equal((await again.end(() => true)).fileState, "written")
    await audit(again)
    await again.stop()
    await again.remove()
  })
})
