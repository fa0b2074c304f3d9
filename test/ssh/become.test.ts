import assert from "node:assert/strict"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import { isRoot } from "../support/sshd.ts"
import { arrange, asItself, asNobody, makeFolder, plain, upToOneMiB } from "./transport-harness.ts"

suite("become", () => {
  /** A `sudo` that does what the real one would with a NOPASSWD rule, or without one. */
  async function fakeSudo(t: TestContext, body: string): Promise<string> {
    const folder = await makeFolder(t)
    await writeFile(join(folder, "sudo"), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
    return `SetEnv PATH=${folder}:/usr/bin:/bin`
  }
  const willing = '[ "$1 $2" = "-n --" ] || exit 9; shift 2; exec "$@"'

  test("writes as root where the SSH user may not", { skip: !isRoot }, async (t) => {
    const { transport, vm, sshd } = await arrange(t, { config: [asNobody, await fakeSudo(t, willing)] })
    const folder = join(sshd.root, "roots")
    await mkdir(folder, { mode: 0o700 })
    const path = join(folder, "it's.yml")
    const plainSession = await transport.open(vm, asItself)
    await assert.rejects(plainSession.stage(path, plain("x")), { code: "vm_permission_denied" })
    const session = await transport.open(vm, { become: true, sftpServer: null })
    await session.stage(path, { ...plain("x"), owner: { uid: 7, gid: 8 } })
    assert.equal((await session.read(path, upToOneMiB))?.uid, 7)
    session.close()
    plainSession.close()
  })

  test("without a rule in sudoers is vm_permission_denied in words", async (t) => {
    const { transport, vm } = await arrange(t, {
      config: [await fakeSudo(t, "echo 'a password is required' >&2; exit 1")],
    })
    await assert.rejects(transport.open(vm, { become: true, sftpServer: null }), {
      code: "vm_permission_denied",
      message: /NOPASSWD/,
    })
  })

  test("without sftp-server at its place is vm_unsupported and names the setting", async (t) => {
    const { transport, vm } = await arrange(t, { config: [await fakeSudo(t, willing)] })
    await assert.rejects(transport.open(vm, { become: true, sftpServer: "/nonexistent/it's here" }), {
      code: "vm_unsupported",
      message: /sftp_server/,
    })
  })
})
