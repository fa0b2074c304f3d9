import { execFile } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import type { OpenOptions, ReadOptions, Session } from "../../src/domain/transport.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { SshTransport, type SshTransportOptions } from "../../src/ssh/transport.ts"
import type { Sshd } from "../support/sshd.ts"

const run = promisify(execFile)

export const asItself: OpenOptions = { become: false, sftpServer: null }
export const upToOneMiB: ReadOptions = { maxBytes: 1024 * 1024, followSymlinks: false }

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
export async function withSession<T>(transport: SshTransport, vm: Vm, use: (session: Session) => Promise<T>): Promise<T> {
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
