import assert from "node:assert/strict"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { mkdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { Session } from "../../src/domain/transport.ts"
import type { SshTransport } from "../../src/ssh/transport.ts"
import { asItself, plain, transportFor, upToOneMiB } from "../ssh/transport-harness.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { vmOf } from "../support/sshd.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { type FaultyServer, startFaultyServer } from "./sftp-faults.ts"

suite("SftpFaults", { timeout: 10_000 }, () => {
  let home: string
  let root: string
  let server: FaultyServer
  let transport: SshTransport

  beforeEach(async () => {
    home = makeTemporary("sftp-faults")
    root = join(home, "vm")
    await mkdir(root)
    writeFileSync(join(root, "app.yml"), "port: 80\n")
    const clientKeyPath = await sharedClientKey()
    server = await startFaultyServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
    transport = transportFor({ knownHostsPath: join(home, "known_hosts") }, { callTimeoutMs: 300 })
  })
  afterEach(async () => {
    await transport.close()
    await server.close()
    await removeTemporary(home)
  })

  const open = async (): Promise<Session> => {
    const address = { host: "127.0.0.1", port: server.port, user: "x", clientKeyPath: await sharedClientKey() }
    return transport.open(vmOf(address, { hostKeys: [server.fingerprint] }), asItself)
  }
  const stands = (): boolean => existsSync(join(root, "app.yml"))

  test("counts requests and tells their names and paths", async () => {
    const session = await open()
    await session.exists("/app.yml")
    await session.rename("/app.yml", "/b.yml")
    const told = server.faults.messages.map(({ number, name, path }) => `${number} ${name} ${path}`)
    assert.deepEqual(told, ["1 lstat /app.yml", "2 posix-rename /app.yml", "3 open /", "4 fsync ", "5 close "])
    session.close()
  })

  for (const acted of [true, false]) {
    test(`drops a request that is ${acted ? "" : "not "}acted on, and answers the next`, async () => {
      const session = await open()
      const fired = server.faults.at(1, { how: "drop", acted })
      const removing = session.remove(["/app.yml"])
      assert.equal(await session.exists("/"), true)
      await assert.rejects(removing, { code: "vm_timeout" })
      assert.deepEqual([fired(), stands()], [true, !acted])
      session.close()
    })

    for (const how of ["reset", "fin"] as const) {
      test(`ends the connection by ${how}, the request ${acted ? "" : "not "}acted on`, async () => {
        const session = await open()
        server.faults.at(2, { how, acted })
        assert.equal(await session.exists("/app.yml"), true)
        await assert.rejects(session.remove(["/app.yml"]), { code: "connection_lost" })
        assert.equal(stands(), !acted)
        session.close()
        const next = await open()
        assert.equal(await next.exists("/"), true)
        next.close()
      })
    }

    test(`freezes after a request that is ${acted ? "" : "not "}acted on: nothing else is done either`, async () => {
      const session = await open()
      server.faults.at(1, { how: "freeze", acted })
      const calls = Promise.allSettled([session.remove(["/app.yml"]), session.remove(["/other"]), session.exists("/")])
      writeFileSync(join(root, "other"), "stays")
      assert.deepEqual(
        (await calls).map(({ status }) => status),
        ["rejected", "rejected", "rejected"],
      )
      assert.deepEqual([stands(), existsSync(join(root, "other"))], [!acted, true])
      session.close()
    })
  }

  test("refuses what its rule names, with a status of choice, until it is cleared", async () => {
    const session = await open()
    server.faults.rule = ({ name }) => (name === "lstat" ? { how: "refuse", status: 3 } : null)
    await assert.rejects(session.exists("/app.yml"), { code: "vm_permission_denied" })
    server.faults.clear()
    assert.equal(await session.exists("/app.yml"), true)
    session.close()
  })

  test("reads short, and all of it can still be had", async () => {
    const session = await open()
    server.faults.longestRead = 2
    assert.equal((await session.read("/app.yml", upToOneMiB))?.bytes.toString(), "port: 80\n")
    session.close()
  })

  test("offers the extensions that it is told to", async () => {
    server.faults.extensions = { "posix-rename@openssh.com": "1" }
    await assert.rejects(open(), { code: "vm_unsupported", message: /lacks fsync@openssh.com,/ })
  })

  test("lies about fsync, and counts that", async () => {
    const session = await open()
    server.faults.liesAboutFsync = true
    await session.stage("/app.yml.new", plain("port: 81\n"))
    assert.equal(server.faults.fsyncsNotDone, 1)
    assert.equal(readFileSync(join(root, "app.yml.new"), "utf8"), "port: 81\n")
    session.close()
  })
})
