import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises"
import type { BlobHeader, BlobRef, BlobStore, OpenedBlob, StoreHealth } from "../domain/blob-store.ts"
import { Fault, isFault } from "../domain/fault.ts"

const timeIsOver: unique symbol = Symbol("time is over")

/**
 * A store whose calls are answered in time. A file call that hangs, on a network mount whose server has gone, cannot be
 * cancelled: it goes on, its caller is told, and until it has come back no other is begun, or soon every thread that reads
 * files would wait for the same mount. What a `put` makes after it was told as failed is removed again; a process that ends
 * before leaves it to the next start, as any blob without a row. Calls that only a start or a command makes have no limit.
 */
export class TimedBlobStore implements BlobStore {
  readonly #store: BlobStore
  readonly #limitMs: number
  /** Calls that were told as failed and have not come back. */
  readonly #overdue = new Set<Promise<unknown>>()

  constructor(store: BlobStore, limitMs: number) {
    this.#store = store
    this.#limitMs = limitMs
  }

  get keyId(): string {
    return this.#store.keyId
  }

  put(blobs: readonly { readonly header: BlobHeader; readonly bytes: Uint8Array }[]): Promise<void> {
    const undo = () => Promise.allSettled(blobs.map(({ header }) => this.#store.remove(refOf(header))))
    return this.#inTime(() => this.#store.put(blobs), undo)
  }

  open(ref: BlobRef): Promise<OpenedBlob> {
    return this.#inTime(() => this.#store.open(ref))
  }

  remove(ref: BlobRef): Promise<void> {
    return this.#inTime(() => this.#store.remove(ref))
  }

  sealed(ref: BlobRef): Promise<Buffer> {
    return this.#inTime(() => this.#store.sealed(ref))
  }

  opens(ref: BlobRef, sealed: Buffer): Promise<string | null> {
    return this.#store.opens(ref, sealed)
  }

  putSealed(ref: BlobRef, sealed: Buffer, isBetter?: boolean): Promise<string | null> {
    return this.#inTime(() => this.#store.putSealed(ref, sealed, isBetter))
  }

  rewrap(ref: BlobRef): Promise<boolean> {
    return this.#inTime(() => this.#store.rewrap(ref))
  }

  list(): ReturnType<BlobStore["list"]> {
    return this.#store.list()
  }

  header(ref: BlobRef): ReturnType<BlobStore["header"]> {
    return this.#store.header(ref)
  }

  putAside(ref: BlobRef): ReturnType<BlobStore["putAside"]> {
    return this.#inTime(() => this.#store.putAside(ref))
  }

  listAside(): ReturnType<BlobStore["listAside"]> {
    return this.#store.listAside()
  }

  async health(): Promise<StoreHealth> {
    try {
      return await this.#inTime(() => this.#store.health())
    } catch (error) {
      if (!isFault(error, "backup_storage_unavailable")) throw error
      return { ok: false, code: "backup_storage_unavailable", detail: error.message }
    }
  }

  async #inTime<T>(begin: () => Promise<T>, undo?: () => Promise<unknown>): Promise<T> {
    if (this.#overdue.size > 0) throw unanswered(this.#limitMs)
    const call = begin()
    const waiting = new AbortController()
    const patience = sleep<typeof timeIsOver>(this.#limitMs, timeIsOver, { signal: waiting.signal })
    patience.catch(() => {})
    try {
      let first = await Promise.race([call, patience])
      // Where it is this process that was held up, the answer may be there and only wait for its turn.
      if (first === timeIsOver) first = await Promise.race([call, turn<typeof timeIsOver>(timeIsOver)])
      if (first !== timeIsOver) return first
    } finally {
      waiting.abort()
    }
    const ended = call.then(() => undo?.()).catch(() => {})
    this.#overdue.add(ended)
    void ended.then(() => this.#overdue.delete(ended))
    throw unanswered(this.#limitMs)
  }
}

function refOf({ vm_id, type, backup_id }: BlobHeader): BlobRef {
  return { vmId: vm_id, type, backupId: backup_id }
}

function unanswered(limitMs: number): Fault {
  const sentence = `The backup directory did not answer within ${limitMs / 1000} s (a network mount that hangs?); try again later.`
  return new Fault("backup_storage_unavailable", sentence, { retryAfterSeconds: 5 })
}
