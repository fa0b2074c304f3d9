import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { parseRemotePath } from "../../src/settings/remote-path.ts"

const defaults = { port: 2222, proxyJump: null }

suite("parseRemotePath", () => {
  for (const [text, name, path] of [
    ["copies@far:/srv/copies", "sftp://copies@far:2222/srv/copies", "/srv/copies"],
    ["copies@10.0.0.7:/srv/", "sftp://copies@10.0.0.7:2222/srv", "/srv"],
    ["copies@[fd00::7]:/srv", "sftp://copies@[fd00::7]:2222/srv", "/srv"],
    ["sftp://copies@far/srv", "sftp://copies@far:2222/srv", "/srv"],
    ["sftp://copies@far:22/srv", "sftp://copies@far:22/srv", "/srv"],
    ["sftp://copies@[fd00::7]:22/srv", "sftp://copies@[fd00::7]:22/srv", "/srv"],
    ["sftp://copies@[fd00::7]/", "sftp://copies@[fd00::7]:2222/", "/"],
  ] as const) {
    test(`reads ${text} as a host and a path`, () => {
      const found = parseRemotePath(text, defaults)
      assert.deepEqual([found?.kind, found?.name, found?.path], ["sftp", name, path])
    })
  }

  test("gives the host the user, the port, the jump host of all and a key of its own name", () => {
    const proxyJump = { user: "j", host: "jump", port: 22 }
    const found = parseRemotePath("copies@far:/srv", { port: 22, proxyJump })
    assert.ok(found?.kind === "sftp")
    const { vmId, user, host, port, privateKeyPath } = found.host
    assert.deepEqual([vmId, user, host, port, privateKeyPath], ["backup_remote", "copies", "far", 22, null])
    assert.deepEqual(found.host.proxyJump, proxyJump)
  })

  test("reads an absolute path as a directory", () => {
    assert.deepEqual(parseRemotePath("/mnt/copies/", defaults), {
      kind: "directory",
      name: "/mnt/copies/",
      path: "/mnt/copies",
    })
  })

  for (const text of [
    "",
    "nearby",
    "./here",
    "far:/srv",
    "@far:/srv",
    "copies@:/srv",
    "copies@far:srv",
    "copies@far",
    "copies@far:22:/srv",
    "sftp://far/srv",
    "sftp://copies@far",
    "sftp://copies@far:0/srv",
    "sftp://copies@far:99999/srv",
    "sftp://copies:secret@far/srv",
    "https://copies@far/srv",
    "copies@fd00::7:/srv",
    "copies@[far]:/srv",
  ]) {
    test(`refuses ${JSON.stringify(text)}`, () => {
      assert.equal(parseRemotePath(text, defaults), null)
    })
  }
})
