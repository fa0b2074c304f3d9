import type { Located } from "../domain/inventory.ts"
import type { RemoteFile, Transport } from "../domain/transport.ts"
import { withDeadline } from "./deadline.ts"
import { requireEnabled } from "./push-conditions.ts"
import { readOptions } from "./push-plan.ts"

/** Reads live files, each within one limit of time. */
export class LiveFiles {
  readonly #transport: Transport
  readonly #timeoutMs: number
  readonly #stopping: AbortSignal

  constructor(transport: Transport, timeoutMs: number, stopping: AbortSignal) {
    this.#transport = transport
    this.#stopping = stopping
    this.#timeoutMs = timeoutMs
  }

  /** @returns null when nothing stands there @throws {Fault} `vm_disabled`, those of Transport.open and Session.read */
  async read(located: Located, signal: AbortSignal): Promise<RemoteFile | null> {
    const { vm, type, path } = located
    requireEnabled(vm)
    return withDeadline([signal, this.#stopping], this.#timeoutMs, async (deadline) => {
      const options = { become: type.become, sftpServer: type.sftpServer, signal: deadline.signal }
      const session = await this.#transport.open(vm, options)
      try {
        return await session.read(path, readOptions(located), deadline.signal)
      } finally {
        session.close()
      }
    })
  }
}
