import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { isFault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { Version } from "../domain/version.ts"
import type { AsideReturn } from "./aside-return.ts"
import type { Verifier } from "./verifier.ts"
import { typeOfVersion } from "./version-type.ts"

/** Every version is looked at once in so many days. */
const daysPerTurn = 30
const dayMs = 24 * 60 * 60_000
/** However many there are: more in one round would keep the disk busy for long. */
const mostPerRound = 5000
const roundsPerDay = 24
const mostLost = 200
/** Of a key that is not loaded, where the copies are sealed for it as well: so many are asked for in vain in one round. */
const mostInVain = 10

export interface Scrubbed {
  /** How many versions were looked at. */
  readonly looked: number
  /** Of them, how many can not be had. */
  readonly bad: number
  /** Copies off this host that differed, and are made anew. */
  readonly copiesQueued: number
}

interface Parts {
  readonly catalog: Catalog
  readonly verifier: Verifier
  readonly asideReturn: Pick<AsideReturn, "round">
  readonly inventory: () => Inventory
  readonly clock: Clock
}

/** Looks at versions in turn, those first that were not looked at for longest: rot is found while a copy is still good. */
export class Scrubber {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** One hour's share. @throws {Fault} where the store or the catalog cannot be asked */
  async round(signal: AbortSignal): Promise<Scrubbed> {
    const { catalog, clock, asideReturn } = this.#parts
    await asideReturn.round(signal)
    const { versions } = await catalog.totals()
    const share = Math.min(mostPerRound, Math.ceil(versions / (daysPerTurn * roundsPerDay)))
    const now = clock().toISOString()
    const before = new Date(Date.parse(now) - dayMs).toISOString()
    const found = { looked: 0, bad: 0, copiesQueued: 0 }
    const due = (await catalog.oldestVerified(now, share)).filter(({ verifiedAt, validFrom }) => {
      const lookedAt = verifiedAt ?? validFrom
      return lookedAt <= before || lookedAt > now
    })
    // What was found bad is looked at every time: its copy may be had by now.
    for (const version of [...(await catalog.lostVersions(mostLost)), ...due]) {
      if (signal.aborted) break
      found.looked += 1
      if (!(await this.#look(version))) found.bad += 1
      else if (!(await this.#compareCopy(version))) found.copiesQueued += 1
    }
    found.looked += await this.#bringLockedHome(signal)
    return found
  }

  /**
   * A file of before a rewrap may have been put back, and its copy made after it. Those that stay locked are told by the start,
   * and are no news here. @returns how many came home
   */
  async #bringLockedHome(signal: AbortSignal): Promise<number> {
    let [home, inVain] = [0, 0]
    for (const version of await this.#parts.catalog.lockedVersions(mostLost)) {
      if (signal.aborted || inVain === mostInVain) break
      if (await this.#look(version)) home += 1
      else inVain += 1
    }
    return home
  }

  async #look(version: Version): Promise<boolean> {
    const type = typeOfVersion(this.#parts.inventory(), version.type)
    return (await this.#parts.verifier.verify(version, type, false)).ok
  }

  /** A place that is away is the copier's to tell of. */
  async #compareCopy(version: Version): Promise<boolean> {
    try {
      return await this.#parts.verifier.compareCopy(version)
    } catch (error) {
      if (isFault(error)) return true
      throw error
    }
  }
}
