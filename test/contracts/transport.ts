import type { Transport } from "../../src/domain/transport.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { changingContract } from "./transport-changing.ts"
import { readingContract } from "./transport-reading.ts"
import { contractSuiteFor } from "./transport-scene.ts"
import { sessionsContract } from "./transport-sessions.ts"

/** A transport with one VM behind it, and a way to that VM's files which does not go through the transport. */
export interface TransportHarness {
  readonly transport: Transport
  readonly vm: Vm
  /** A VM at whose address nobody answers. */
  readonly unreachable: Vm
  /** An absolute path in a directory of the VM that is the test's own. */
  path(name: string): string
  write(path: string, bytes: Uint8Array, mode?: number): Promise<void>
  readBack(path: string): Promise<Buffer | null>
  /** What stands at a path itself; symlinks are not followed. */
  stat(path: string): Promise<Standing | null>
  mkdir(path: string): Promise<void>
  symlink(target: string, path: string): Promise<void>
  /** Left out where the VM knows none. */
  fifo(path: string): Promise<void>
  /** Cuts the connection that is open, as a network does that fails. */
  breakConnection(): void
  close(): Promise<void>
}

export interface Standing {
  readonly kind: "file" | "directory" | "symlink" | "other"
  readonly mode: number
  /** Equal for two names of the same file. */
  readonly inode: unknown
}

/** What every Transport does; `makeHarness` gives a fresh one for each test. */
export function transportContract(name: string, makeHarness: () => Promise<TransportHarness>): void {
  const contractSuite = contractSuiteFor(name, makeHarness)
  readingContract(contractSuite)
  changingContract(contractSuite)
  sessionsContract(contractSuite)
}
