import type { Connection } from "./connection.ts"

/** What a connection is made for, and what it would be wrong to use it for once that changes. */
export interface Use {
  /** One connection per key. */
  readonly key: string
  /** Changes when anything that a connection depends on does. */
  readonly stamp: string
}

interface Slot {
  readonly use: Use
  readonly opening: Promise<Connection>
  connection: Connection | null
  leases: number
  idleTimer: NodeJS.Timeout | undefined
}

export interface Lease {
  readonly connection: Connection
  /** Repeatable. */
  readonly release: () => void
}

/** One connection per key, shared by all who hold a lease on it, closed when nobody has for a while. */
export class ConnectionPool {
  readonly #idleTimeoutMs: number
  readonly #slots = new Map<string, Slot>()
  /** Also those that are out of the pool and wait for their last lease. */
  readonly #open = new Set<Connection>()

  constructor(idleTimeoutMs: number) {
    this.#idleTimeoutMs = idleTimeoutMs
  }

  /** Connections that stand, also those that wait for their last lease. */
  get open(): number {
    return this.#open.size
  }

  /** Those of the pool that somebody holds a lease on. */
  get busy(): number {
    return [...this.#slots.values()].filter(({ connection, leases }) => connection !== null && leases > 0).length
  }

  /** @param connect is called when there is no connection, or not the right one any more */
  async lease(use: Use, connect: () => Promise<Connection>): Promise<Lease> {
    const slot = this.#usable(use) ?? this.#add(use, connect)
    slot.leases++
    clearTimeout(slot.idleTimer)
    let released = false
    const release = () => {
      if (released) return
      released = true
      slot.leases--
      this.#settle(slot)
    }
    try {
      return { connection: await slot.opening, release }
    } catch (error) {
      release()
      throw error
    }
  }

  /** Takes out of the pool what `keep` does not want; it ends with its last lease. */
  retain(keep: (use: Use) => boolean): void {
    for (const slot of [...this.#slots.values()]) {
      if (!keep(slot.use)) this.#retire(slot)
    }
  }

  /** Ends all of it, leased or not. */
  async close(): Promise<void> {
    const slots = [...this.#slots.values()]
    this.#slots.clear()
    for (const slot of slots) clearTimeout(slot.idleTimer)
    await Promise.allSettled(slots.map((slot) => slot.opening))
    await Promise.all([...this.#open].map((connection) => connection.end()))
  }

  #usable(use: Use): Slot | null {
    const slot = this.#slots.get(use.key)
    if (!slot) return null
    const { connection } = slot
    if (slot.use.stamp === use.stamp && !connection?.fault && !connection?.isOverdue) return slot
    this.#retire(slot)
    return null
  }

  #add(use: Use, connect: () => Promise<Connection>): Slot {
    const slot: Slot = { use, opening: connect(), connection: null, leases: 0, idleTimer: undefined }
    this.#slots.set(use.key, slot)
    slot.opening.then(
      (connection) => {
        slot.connection = connection
        this.#open.add(connection)
        connection.onDown(() => {
          this.#open.delete(connection)
          this.#forget(slot)
        })
        if (connection.fault) this.#forget(slot)
        this.#settle(slot)
      },
      () => this.#forget(slot),
    )
    return slot
  }

  #retire(slot: Slot): void {
    this.#forget(slot)
    this.#settle(slot)
  }

  #forget(slot: Slot): void {
    clearTimeout(slot.idleTimer)
    if (this.#slots.get(slot.use.key) === slot) this.#slots.delete(slot.use.key)
  }

  /** Decides what becomes of a connection that nobody holds a lease on. */
  #settle(slot: Slot): void {
    const { connection } = slot
    if (slot.leases > 0 || !connection || connection.fault) return
    if (this.#slots.get(slot.use.key) !== slot) {
      void connection.end()
      return
    }
    clearTimeout(slot.idleTimer)
    slot.idleTimer = setTimeout(() => this.#retire(slot), this.#idleTimeoutMs).unref()
  }
}
