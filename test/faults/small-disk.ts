import { execFileSync } from "node:child_process"
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { makeTemporary } from "../support/temporary.ts"

/** A real file system of a few MiB, mounted over directories of a service. */
export interface SmallDisk {
  /** Fills it up to the last block, but for `leave` bytes. */
  fill(leave?: number): void
  /** Gives all the room back. */
  empty(): void
  close(): void
}

const run = (command: string, ...args: readonly string[]): void => {
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] })
}

/** Mounts one over each of `directories`, whose contents move there; they share its room. */
export function mountSmallDisk(directories: readonly string[], megabytes = 16): SmallDisk {
  const root = makeTemporary("small-disk")
  run("mount", "-t", "tmpfs", "-o", `size=${megabytes}m,mode=700`, "tmpfs", root)
  for (const [index, directory] of directories.entries()) {
    const own = join(root, String(index))
    mkdirSync(own, { mode: 0o700 })
    if (existsSync(directory)) run("cp", "-a", `${directory}/.`, own)
    else mkdirSync(directory, { recursive: true })
    run("mount", "--bind", own, directory)
  }
  const ballast = join(root, "ballast")
  const all = [...directories, root]
  return {
    fill: (leave = 0) => {
      const blocks = fillFile(ballast)
      const kept = Math.max(0, blocks - Math.ceil(leave / blockBytes))
      run("truncate", "-s", String(kept * blockBytes), ballast)
    },
    empty: () => rmSync(ballast, { force: true }),
    close: () => {
      for (const directory of all) run("umount", "-l", directory)
    },
  }
}

/** As the kernel does when a disk fails: the same directory, which nobody can write. @returns what ends it */
export function mountReadOnly(directory: string): () => void {
  run("mount", "--bind", directory, directory)
  run("mount", "-o", "remount,bind,ro", directory)
  return () => run("umount", "-l", directory)
}

const blockBytes = 4096

/** @returns how many blocks it took */
function fillFile(path: string): number {
  const file = openSync(path, "w")
  const block = Buffer.alloc(blockBytes, 1)
  try {
    for (let blocks = 0; ; blocks++) {
      try {
        writeSync(file, block)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOSPC") return blocks
        throw error
      }
    }
  } finally {
    closeSync(file)
  }
}
