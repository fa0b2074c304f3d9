import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { test } from "node:test"
import { asItself, type ContractSuite, plain, staged } from "./transport-scene.ts"

/** What holds for every call, and what becomes of sessions when they are given up, cut or closed. */
export function sessionsContract(contractSuite: ContractSuite): void {
  contractSuite("sessions", (given) => {
    test("refuses control characters in every path, and the session goes on", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      const refused = { code: "vm_unsupported" }
      for (const bad of [
        `${given.path}\0`,
        `${given.path}\n`,
        `/x\r${given.path}`,
        `${given.path}\u001b[0m`,
        `${given.path}\u007f`,
      ]) {
        await assert.rejects(given.session.read(bad, plain), refused)
        await assert.rejects(given.session.exists(bad), refused)
        await assert.rejects(given.session.stage(bad, staged("x")), refused)
        await assert.rejects(given.session.swap({ ...given.swapPaths(true), oldPath: bad }, plain), refused)
        await assert.rejects(given.session.rename(given.path, bad), refused)
        await assert.rejects(given.session.syncDirectory(bad), refused)
        await assert.rejects(given.session.remove([given.path, bad]), refused)
        await assert.rejects(given.session.realPathOf(bad), refused)
        await assert.rejects(given.session.requirePlace(bad), refused)
        await assert.rejects(given.session.probe(bad, { ...plain, keepOwner: true }), refused)
      }
      assert.equal((await given.session.read(given.path, plain))?.bytes.toString(), "live")
    })

    test("takes names that are odd but legal", async () => {
      for (const odd of ["with space", "quote'\"`$(x)", "ünï-😀", "-rf", "a".repeat(200)]) {
        await given.session.stage(given.harness.path(odd), staged(odd))
        assert.equal((await given.session.read(given.harness.path(odd), plain))?.bytes.toString(), odd)
      }
    })

    test("rejects with the reason of a signal that was aborted before, and does nothing", async () => {
      const signal = AbortSignal.abort(new Error("hung up"))
      await given.harness.write(given.path, Buffer.from("live"))
      await assert.rejects(given.session.read(given.path, plain, signal), /hung up/)
      await assert.rejects(given.session.exists(given.path, signal), /hung up/)
      await assert.rejects(given.session.stage(given.stagingPath, staged("x"), signal), /hung up/)
      await assert.rejects(given.harness.transport.open(given.harness.vm, { ...asItself, signal }), /hung up/)
      assert.equal(given.session.dead, false)
      assert.equal((await given.session.read(given.path, plain))?.bytes.toString(), "live")
      assert.equal(await given.harness.stat(given.stagingPath), null)
    })

    test("rejects with the reason of a signal that aborts midway, and the session goes on", async () => {
      await given.harness.write(given.path, randomBytes(500_000))
      const giveUp = new AbortController()
      const reading = given.session.read(given.path, plain, giveUp.signal)
      giveUp.abort(new Error("hung up"))
      await assert.rejects(reading, /hung up/)
      assert.equal((await given.session.read(given.path, plain))?.bytes.length, 500_000)
    })

    test("is over once it is closed, while others with the same VM go on", async () => {
      const other = await given.open()
      given.session.close()
      given.session.close()
      assert.equal(given.session.dead, true)
      await assert.rejects(given.session.read(given.path, plain), { code: "connection_lost" })
      assert.equal(await other.exists(given.path), false)
      other.close()
    })

    test("does what several ask at once", async () => {
      const names = Array.from({ length: 20 }, (_, n) => given.harness.path(`file-${n}`))
      await Promise.all(names.map((each) => given.session.stage(each, staged(each))))
      const found = await Promise.all(names.map((each) => given.session.read(each, plain)))
      assert.deepEqual(
        found.map((file) => file?.bytes.toString()),
        names,
      )
    })
  })

  contractSuite("connections", (given) => {
    test("ends what is under way with connection_lost when the connection breaks", async () => {
      await given.harness.write(given.path, randomBytes(500_000))
      const reading = given.session.read(given.path, plain)
      given.harness.breakConnection()
      await assert.rejects(reading, { code: "connection_lost" })
      assert.equal(given.session.dead, true)
    })

    test("answers connection_lost to every later call, and a new session works", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      await given.session.read(given.path, plain)
      given.harness.breakConnection()
      const lost = { code: "connection_lost" }
      await assert.rejects(given.session.read(given.path, plain), lost)
      await assert.rejects(given.session.exists(given.path), lost)
      await assert.rejects(given.session.stage(given.stagingPath, staged("x")), lost)
      await assert.rejects(given.session.swap(given.swapPaths(true), plain), lost)
      await assert.rejects(given.session.rename(given.path, given.oldPath), lost)
      await assert.rejects(given.session.remove([given.path]), lost)
      await assert.rejects(given.session.realPathOf(given.path), lost)
      await assert.rejects(given.session.requirePlace(given.path), lost)
      await assert.rejects(given.session.probe(given.path, { ...plain, keepOwner: true }), lost)
      assert.equal(given.session.dead, true)

      const next = await given.open()
      assert.equal((await next.read(given.path, plain))?.bytes.toString(), "live")
      next.close()
    })

    test("gives the connection up when it is told so, and a new session works", async () => {
      await given.harness.write(given.path, randomBytes(500_000))
      const reading = given.session.read(given.path, plain)
      given.session.abandon()
      given.session.abandon()
      await assert.rejects(reading, { code: "connection_lost" })
      await assert.rejects(given.session.exists(given.path), { code: "connection_lost" })
      assert.equal(given.session.dead, true)
      const next = await given.open()
      assert.equal(await next.exists(given.path), true)
      next.close()
    })

    test("leaves the connection to others once the lease was given back", async () => {
      const other = await given.open()
      given.session.close()
      given.session.abandon()
      assert.equal(await other.exists(given.path), false)
      other.close()
    })

    test("closes a session whose connection is broken without a fault", async () => {
      given.harness.breakConnection()
      given.session.close()
      given.session.close()
      assert.equal(given.session.dead, true)
    })

    test("says vm_unreachable where nobody answers, and goes on with the others", async () => {
      const opening = () => given.harness.transport.open(given.harness.unreachable, asItself)
      await assert.rejects(opening(), { code: "vm_unreachable" })
      await assert.rejects(opening(), { code: "vm_unreachable" })
      assert.equal(await given.session.exists(given.path), false)
    })

    test("checks the steps of a connection one by one, and never rejects", async () => {
      const good = await given.harness.transport.check(given.harness.vm)
      assert.ok(good.length > 1)
      assert.ok(good.every(({ ok }) => ok))
      const bad = await given.harness.transport.check(given.harness.unreachable)
      assert.deepEqual(
        bad.map(({ ok }) => ok),
        [false],
      )
      assert.equal(bad[0]?.name, good[0]?.name)
    })

    test("connects again when the VM comes back among those that are kept", async () => {
      given.session.close()
      given.harness.transport.retain([])
      given.harness.transport.retain([given.harness.vm])
      given.session = await given.open()
      assert.equal(await given.session.exists(given.path), false)
    })

    test("answers shutting_down once it is closed, and ends the sessions", async () => {
      await given.harness.transport.close()
      await given.harness.transport.close()
      await assert.rejects(given.open(), { code: "shutting_down" })
      await assert.rejects(given.session.read(given.path, plain), { code: "connection_lost" })
      assert.equal(given.session.dead, true)
    })
  })
}
