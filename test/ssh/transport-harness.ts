import { execFile } from "node:child_process"
import { appendFile, chmod, mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { TestContext } from "node:test"
import { promisify } from "node:util"
import type { OpenOptions, ReadOptions, Session, StagedFile } from "../../src/domain/transport.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { SshTransport, type SshTransportOptions } from "../../src/ssh/transport.ts"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Sshd, type SshdOptions, startSshd, vmOf } from "../support/sshd.ts"

const run = promisify(execFile)

export const asItself: OpenOptions = { become: false, sftpServer: null }
export const upToOneMiB: ReadOptions = { maxBytes: 1024 * 1024, followSymlinks: false }

export const plain = (text: string | Buffer): StagedFile => ({
  bytes: Buffer.from(text),
  mode: 0o640,
  owner: null,
  keepOwner: true,
})

export const sftpServer = "/usr/lib/openssh/sftp-server"
/** For sshd_config: SFTP with the rights of nobody. */
export const asNobody = `Subsystem sftp /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups ${sftpServer}`

/** A transport that knows what `sshd` is known by; times are short, so that a test that hangs fails soon. */
export function transportFor(
  sshd: Pick<Sshd, "knownHostsPath">,
  options: Partial<SshTransportOptions> = {},
): SshTransport {
  return new SshTransport({
    knownHostsPath: sshd.knownHostsPath,
    keyStoragePath: "/nonexistent",
    privateKeyPath: null,
    passphrase: null,
    agentSocket: null,
    callTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    keepaliveMs: 5_000,
    idleTimeoutMs: 60_000,
    maxHandshakes: 8,
    poolSize: 32,
    retries: 3,
    ...options,
  })
}

/** Opens a session, hands it to `use`, and gives it back. */
export async function withSession<T>(
  transport: SshTransport,
  vm: Vm,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await transport.open(vm, asItself)
  try {
    return await use(session)
  } finally {
    session.close()
  }
}

/** A folder that goes with the test. */
export async function makeFolder(t: { after(clean: () => Promise<void>): void }): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "config-manager-ssh-"))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export async function makeKey(path: string, type: "ed25519" | "rsa" | "ecdsa", passphrase = ""): Promise<string> {
  await run("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-f", path])
  return path
}

/** A server, a network before it, and a transport; all end with the test. */
export async function arrange(t: TestContext, server: SshdOptions = {}, options: Partial<SshTransportOptions> = {}) {
  const sshd = await startSshd(server)
  t.after(() => sshd.stop())
  const network = await startProxy(sshd)
  t.after(() => network.close())
  await known(sshd, network)
  const transport = transportFor(sshd, options)
  t.after(() => transport.close())
  // For the tests whose SFTP server runs as somebody else.
  await chmod(sshd.root, 0o777)
  await chmod(dirname(sshd.root), 0o711)
  return { sshd, network, transport, vm: vmOf(sshd, { port: network.port }), path: join(sshd.root, "app.yml") }
}

async function known(sshd: Sshd, network: FaultyNetwork): Promise<void> {
  const lines = await readFile(sshd.knownHostsPath, "utf8")
  await appendFile(sshd.knownHostsPath, lines.replaceAll(`:${sshd.port} `, `:${network.port} `))
}
