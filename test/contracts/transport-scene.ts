import { afterEach, beforeEach, suite } from "node:test"
import type { OpenOptions, ReadOptions, Seen, Session, StagedFile, SwapPaths } from "../../src/domain/transport.ts"
import type { TransportHarness } from "./transport.ts"

export const asItself: OpenOptions = { become: false, sftpServer: null }
export const plain: ReadOptions = { maxBytes: 1024 * 1024, followSymlinks: false }
export const following: ReadOptions = { ...plain, followSymlinks: true }

export function staged(bytes: Uint8Array | string, mode = 0o640): StagedFile {
  return { bytes: Buffer.from(bytes), mode, owner: null, keepOwner: true }
}

/** What was seen, as text; null and "odd" as they are. */
export function textOf(seen: Seen): string | null {
  return seen === "odd" ? seen : (seen?.bytes.toString() ?? null)
}

/** What a test of the contract starts with: a fresh harness, and a session on its VM. */
export interface Scene {
  readonly harness: TransportHarness
  session: Session
  readonly path: string
  readonly stagingPath: string
  readonly oldPath: string
  /** One more session. */
  open(): Promise<Session>
  swapPaths(replaces: boolean): SwapPaths
  /** What stands on the VM, past the transport; null: nothing. */
  textAt(path: string): Promise<string | null>
}

/** A suite of the contract; `given` is filled before each test. */
export type ContractSuite = (what: string, define: (given: Scene) => void) => void

export function contractSuiteFor(name: string, makeHarness: () => Promise<TransportHarness>): ContractSuite {
  return (what, define) => {
    suite(`${name} as a Transport: ${what}`, { timeout: 30_000 }, () => {
      const given = {} as Scene
      beforeEach(async () => {
        Object.assign(given, await makeScene(await makeHarness()))
      })
      afterEach(async () => {
        given.session.close()
        await given.harness.close()
      })
      define(given)
    })
  }
}

async function makeScene(harness: TransportHarness): Promise<Scene> {
  const open = () => harness.transport.open(harness.vm, asItself)
  const path = harness.path("app.yml")
  const stagingPath = `${path}.op.new`
  const oldPath = `${path}.op.old`
  return {
    harness,
    session: await open(),
    path,
    stagingPath,
    oldPath,
    open,
    swapPaths: (replaces) => ({ path, stagingPath, oldPath, replaces }),
    textAt: async (where) => (await harness.readBack(where))?.toString() ?? null,
  }
}
