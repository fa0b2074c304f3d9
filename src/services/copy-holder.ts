import { randomUUID } from "node:crypto"
import type { Catalog } from "../domain/catalog.ts"
import type { CopyTarget } from "../domain/copies.ts"
import { isFault } from "../domain/fault.ts"

interface Parts {
  readonly catalog: Pick<Catalog, "fact" | "setFact">
  readonly target: CopyTarget
}

/**
 * Names the process that copies there, and counts what was copied: each count is beyond all that stood there before, whoever
 * wrote them. That tells a store from its clone, whose keyring is the same, and a place from one that was put back.
 */
const fileName = "config-manager-service.txt"
const fileLine = /^([0-9a-f-]{36}) (\d{1,15})$/m
/** What the file was last known to count. Noted after it is written: where the process ends in between, it is behind and not ahead. */
const countFact = "copy_count"

/** What stands in the file. */
export interface Holding {
  readonly count: number
  /** `older`: what stood there before this process wrote it. `us` also where this process has not written it yet. */
  readonly whose: "us" | "older" | "another"
}

/** Who copies to a place, as a file there tells. */
export class CopyHolder {
  readonly #parts: Parts
  readonly #id = randomUUID()
  #isHeld = false
  /** The highest count that was seen or written. */
  #count = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** @throws {Fault} where the place cannot be reached */
  async look(): Promise<Holding> {
    const text = (await this.#parts.target.get(fileName))?.toString("latin1") ?? ""
    const [, id = null, digits = "0"] = fileLine.exec(text) ?? []
    const count = Number(digits)
    return { count, whose: this.#whose(id, count) }
  }

  /**
   * What was counted before, as far as the catalog knows: where less stands there the place was put back. What is no count, as
   * where a bit was flipped, counts as none: all would be copied anew by each claim.
   */
  async counted(): Promise<number> {
    return Number(/^\d{1,15}$/.exec((await this.#parts.catalog.fact(countFact)) ?? "")?.[0] ?? 0)
  }

  /**
   * Holds the place from now on, unless it is held already.
   * @param isAnew the place is new or was put back: what was counted before is not there
   */
  async claim({ count }: Holding, { counted, isAnew }: { counted: number; isAnew: boolean }): Promise<void> {
    this.#count = Math.max(this.#count, counted, count)
    if (isAnew) {
      this.#isHeld = false
      // Begun once: where the place is too full to be held, it goes on looking like that.
      await this.#parts.catalog.setFact(countFact, String(count))
    }
    if (!this.#isHeld) await this.hold()
  }

  /** Counts one more. From then on the process of before copies nothing there any more, should it still be alive. */
  async hold(): Promise<void> {
    const { target, catalog } = this.#parts
    const count = this.#count + 1
    // A full place must get as far as what makes room there: it is held another time.
    const isPut = await target.put(fileName, Buffer.from(`${this.#id} ${count}\n`)).then(() => true, unlessFull)
    if (!isPut) return
    this.#isHeld = true
    this.#count = count
    await catalog.setFact(countFact, String(count))
  }

  /** What another service wrote after us is beyond our count. */
  #whose(id: string | null, count: number): Holding["whose"] {
    // What we wrote and could not know to be written is beyond it, too.
    if (!this.#isHeld || (id === this.#id && count >= this.#count)) return "us"
    return count > this.#count ? "another" : "older"
  }
}

/** For writes that a full place may refuse. */
export function unlessFull(error: unknown): false {
  if (isFault(error, "storage_full")) return false
  throw error
}
