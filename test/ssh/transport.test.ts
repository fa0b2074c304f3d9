import { execFileSync } from "node:child_process"
import { chmod, lstat, mkdir, readFile, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after } from "node:test"
import type { Standing, TransportHarness } from "../contracts/transport.ts"
import { transportContract } from "../contracts/transport.ts"
import { startProxy } from "../support/proxy.ts"
import { type Sshd, startSshd, vmOf } from "../support/sshd.ts"
import { transportFor } from "./transport-harness.ts"

let server: Promise<Sshd> | null = null
let count = 0

after(async () => {
  await (await server)?.stop()
})

transportContract("SshTransport", async (): Promise<TransportHarness> => {
  server ??= startSshd()
  const sshd = await server
  const network = await startProxy(sshd)
  const folder = join(sshd.root, `case-${count++}`)
  await mkdir(folder)
  const transport = transportFor(sshd)
  return {
    transport,
    vm: vmOf(sshd, { port: network.port, hostKeys: [sshd.fingerprint] }),
    unreachable: vmOf(sshd, { vmId: "vm02", port: 1 }),
    path: (name) => join(folder, name),
    write: async (path, bytes, mode = 0o644) => {
      await writeFile(path, bytes)
      await chmod(path, mode)
    },
    readBack: (path) => orNull(readFile(path)),
    stat: async (path) => {
      const stats = await orNull(lstat(path))
      return stats && { kind: kindOf(stats), mode: stats.mode & 0o7777, inode: stats.ino }
    },
    mkdir: (path) => mkdir(path),
    symlink: (target, path) => symlink(target, path),
    fifo: async (path) => void execFileSync("mkfifo", [path]),
    breakConnection: () => network.reset(),
    close: async () => {
      await transport.close()
      await network.close()
    },
  }
})

function kindOf(stats: { isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean }): Standing["kind"] {
  if (stats.isFile()) return "file"
  if (stats.isDirectory()) return "directory"
  return stats.isSymbolicLink() ? "symlink" : "other"
}

async function orNull<T>(found: Promise<T>): Promise<T | null> {
  try {
    return await found
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null
    throw error
  }
}
