import { execFile } from "node:child_process"
import { chmod, lstat, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Transport } from "../../src/domain/transport.ts"
import type { Vm } from "../../src/domain/vm.ts"
import type { Standing, TransportHarness } from "../contracts/transport.ts"
import { startProxy } from "./proxy.ts"

const run = promisify(execFile)

export interface DiskHarnessOptions {
  /** The SSH server; its connections go through a proxy, so that they can be cut. */
  readonly server: { readonly host: string; readonly port: number }
  /** Makes the transport under test, and its VM at the proxy's address. */
  readonly connect: (address: { readonly host: string; readonly port: number }) => { transport: Transport; vm: Vm }
  /** An existing folder of this machine in which the VM's files stand, and what the VM calls it. */
  readonly folder: string
  readonly folderOnVm: string
}

/** The harness of the transport's contract for a VM whose files stand on this machine's disk. */
export async function diskHarness(options: DiskHarnessOptions): Promise<TransportHarness> {
  const proxy = await startProxy(options.server)
  const { transport, vm } = options.connect(proxy)
  const folder = await mkdtemp(join(options.folder, "test-"))
  /** Where a path of the VM stands here. */
  const here = (path: string) => join(options.folder, path.slice(options.folderOnVm.length))
  return {
    transport,
    vm,
    unreachable: { ...vm, vmId: "vm99", port: 1 },
    path: (name) => join(options.folderOnVm, folder.slice(options.folder.length), name),
    write: async (path, bytes, mode = 0o644) => {
      await writeFile(here(path), bytes)
      await chmod(here(path), mode)
    },
    readBack: (path) => unlessMissing(readFile(here(path))),
    stat: (path) => unlessMissing(standing(here(path))),
    mkdir: (path) => mkdir(here(path)),
    symlink: (target, path) => symlink(target, here(path)),
    fifo: async (path) => {
      await run("mkfifo", [here(path)])
    },
    breakConnection: () => proxy.reset(),
    close: async () => {
      await transport.close()
      await proxy.close()
      await rm(folder, { recursive: true })
    },
  }
}

async function standing(path: string): Promise<Standing> {
  const stats = await lstat(path)
  const kind = stats.isFile()
    ? "file"
    : stats.isDirectory()
      ? "directory"
      : stats.isSymbolicLink()
        ? "symlink"
        : "other"
  return { kind, mode: stats.mode & 0o7777, inode: stats.ino }
}

async function unlessMissing<T>(looking: Promise<T>): Promise<T | null> {
  try {
    return await looking
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null
    throw error
  }
}
