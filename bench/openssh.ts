import { execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Sshd } from "../test/support/sshd.ts"

const run = promisify(execFile)

/** OpenSSH's own tools with a ControlMaster: what a shell loop would use. */
export interface OpensshConnection {
  get(path: string): Promise<Buffer>
  /** Copies beside the file, syncs, renames, reads back. */
  put(path: string, bytes: Buffer): Promise<void>
  close(): Promise<void>
}

export async function connectOpenssh(sshd: Sshd): Promise<OpensshConnection> {
  const dir = await mkdtemp(join(tmpdir(), "cm-bench-"))
  const options = [
    ...["-o", "BatchMode=yes", "-o", `ControlPath=${join(dir, "control")}`],
    ...["-o", "KexAlgorithms=curve25519-sha256", "-o", `UserKnownHostsFile=${sshd.knownHostsPath}`],
    ...["-o", "IdentitiesOnly=yes", "-i", sshd.clientKeyPath, "-F", "none"],
  ]
  const target = `${sshd.user}@${sshd.host}`
  const ssh = ["-p", String(sshd.port), ...options, target]
  const master = spawn("ssh", ["-M", "-N", ...ssh], { stdio: "ignore" })
  const ended = once(master, "exit")
  for (let tries = 0; tries < 100; tries += 1) {
    const up = await run("ssh", ["-O", "check", ...ssh]).then(
      () => true,
      () => false,
    )
    if (up) break
  }
  const get = async (path: string): Promise<Buffer> => {
    const { stdout } = await run("ssh", [...ssh, `cat ${path}`], { encoding: "buffer" })
    return stdout
  }
  return {
    get,
    put: async (path, bytes) => {
      const local = join(dir, "new")
      await writeFile(local, bytes)
      await get(path)
      await run("scp", ["-q", "-P", String(sshd.port), ...options, local, `${target}:${path}.scp`])
      await run("ssh", [...ssh, `sync ${path}.scp && mv ${path}.scp ${path} && cat ${path}`])
    },
    close: async () => {
      await run("ssh", ["-O", "exit", ...ssh]).catch(() => {})
      await ended
      await rm(dir, { recursive: true, force: true })
    },
  }
}
