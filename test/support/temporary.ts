import { mkdtempSync, rmSync } from "node:fs"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"

const directories = new Set<string>()

/** Makes a directory of its own, which is removed at the latest when the process ends by itself. */
export function makeTemporary(name: string): string {
  if (directories.size === 0) process.once("exit", removeAll)
  const path = mkdtempSync(join(tmpdir(), `config-manager-${name}-`))
  directories.add(path)
  return path
}

/** Removes one that `makeTemporary` made, now. Repeatable. */
export async function removeTemporary(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}

function removeAll(): void {
  for (const path of directories) rmSync(path, { recursive: true, force: true })
}
