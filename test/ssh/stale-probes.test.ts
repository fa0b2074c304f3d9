import assert from "node:assert/strict"
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs"
import { chmod, readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, test } from "node:test"
import { namesPacket, statusPacket } from "../../demo/sftp-wire.ts"
import { startFaultyServer } from "../faults/sftp-faults.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { isRoot, vmOf } from "../support/sshd.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { arrange, asItself, asNobody, transportFor, upToOneMiB } from "./transport-harness.ts"

const probing = { ...upToOneMiB, keepOwner: true }
const hours = 3600
const left = "app.yml.0123456789abcdef.probe"
const idAt = 5

/** A file that was made so long ago. */
function makeFile(path: string, content: string, ageSeconds: number): void {
  writeFileSync(path, content)
  age(path, ageSeconds)
}

function age(path: string, ageSeconds: number): void {
  const made = Date.now() / 1000 - ageSeconds
  utimesSync(path, made, made)
}

suite("A check", { timeout: 20_000 }, () => {
  test("removes the probe files that a killed one has left beside the config, and no others", async (t) => {
    const { sshd, transport, vm, path } = await arrange(t)
    const at = (name: string) => join(sshd.root, name)
    for (const content of ["probe", ""])
      makeFile(at(`app.yml.00000000000000${content.length}0.probe`), content, 3 * hours)
    makeFile(at(`app.yml.${"0".repeat(34)}.probe`), "probe", 3 * hours)
    const kept = [
      "app.yml",
      "app.yml.00000000000000aa.probe.bak",
      "app.yml.00000000000000AA.probe",
      "app.yml.000000000000000001.probe",
      "other.yml.00000000000000aa.probe",
      "xapp.yml.00000000000000aa.probe",
    ]
    for (const name of kept) makeFile(at(name), "probe", 3 * hours)
    const session = await transport.open(vm, asItself)
    const { checks } = await session.probe(path, probing)
    session.close()
    assert.deepEqual(
      checks.filter(({ ok }) => !ok),
      [],
    )
    assert.deepEqual((await readdir(sshd.root)).sort(), kept.sort())
  })

  test("leaves what may be of a check that goes on, by the VM's clock, or is none of ours", async (t) => {
    const { sshd, transport, vm, path } = await arrange(t)
    const at = (name: string) => join(sshd.root, name)
    makeFile(at("app.yml.0000000000000001.probe"), "probe", 1 * hours)
    makeFile(at("app.yml.0000000000000002.probe"), "probe", -3 * hours)
    makeFile(at("app.yml.0000000000000003.probe"), "longer than ours", 3 * hours)
    symlinkSync("/nowhere", at("app.yml.0000000000000004.probe"))
    mkdirSync(at("app.yml.0000000000000005.probe"))
    age(at("app.yml.0000000000000005.probe"), 3 * hours)
    const before = await readdir(sshd.root)
    const session = await transport.open(vm, asItself)
    await session.probe(path, probing)
    session.close()
    assert.deepEqual(await readdir(sshd.root), before)
  })

  test("succeeds where the directory may not be read, or what was left may not be removed", {
    skip: !isRoot,
  }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
    makeFile(join(sshd.root, left), "probe", 3 * hours)
    const session = await transport.open(vm, asItself)
    for (const mode of [0o333, 0o1777]) {
      await chmod(sshd.root, mode)
      const { checks } = await session.probe(path, probing)
      assert.deepEqual(
        checks.filter(({ ok }) => !ok),
        [],
        mode.toString(8),
      )
      assert.deepEqual(await readdir(sshd.root), [left])
    }
    session.close()
  })

  test("does not go through all of a directory that holds very much", async (t) => {
    const home = makeTemporary("stale-probes")
    const root = join(home, "vm")
    mkdirSync(root)
    const clientKeyPath = await sharedClientKey()
    const server = await startFaultyServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
    const transport = transportFor({ knownHostsPath: join(home, "known_hosts") })
    t.after(async () => {
      await transport.close()
      await server.close()
      await removeTemporary(home)
    })
    const { faults, port, fingerprint } = server
    const files = Array.from({ length: 100 }, (_, index) => ({ name: `${index}`, longName: "", attributes: {} }))
    faults.rewrite = ({ name }, answer) =>
      answer !== null && name === "readdir" ? namesPacket(answer.readUInt32BE(idAt), files) : answer
    const vm = vmOf({ host: "127.0.0.1", port, user: "x", clientKeyPath }, { hostKeys: [fingerprint] })
    const session = await transport.open(vm, asItself)
    const { checks } = await session.probe("/app.yml", probing)
    assert.equal(checks.find(({ name }) => name === "directory")?.ok, true)
    assert.ok(faults.messages.filter(({ name }) => name === "readdir").length <= 100)

    faults.rewrite = ({ name }, answer) =>
      answer !== null && name === "opendir" ? statusPacket(answer.readUInt32BE(idAt), 8, "") : answer
    assert.equal((await session.probe("/app.yml", probing)).checks.find(({ name }) => name === "directory")?.ok, true)
    session.close()
  })
})
