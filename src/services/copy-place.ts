import { randomUUID } from "node:crypto"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { type CopyCatalog, type CopyTarget, fileNameOf, type StoreFiles, sideFileNames } from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"
import { CopyHolder, unlessFull } from "./copy-holder.ts"

interface Parts {
  readonly catalog: CopyCatalog & Pick<Catalog, "fact" | "setFact">
  readonly target: CopyTarget
  readonly files: StoreFiles
  readonly clock: Clock
}

/**
 * Marks a place as the one that copies go to. Where it is missing the place is another than before, most likely a mount
 * that is not there, and what is written would fill the disk below it.
 */
const markerName = "config-manager-copies.txt"
const markerText = "Copies of sealed versions, made by Config Manager. Without this file nothing is copied here.\n"
const probeName = "config-manager-probe.txt"
const [keyringName] = sideFileNames
/** The place that was marked last, by its name. */
const markedFact = "copy_marked"
/** What puts a place back may begin with the count (copy-holder.ts), and take newer copies away for so long after it. */
const putBackMs = 60 * 60_000
const storeLine = /^Store ([0-9a-f]{32})$/m

/** Holds the place of the copies against what the catalog believes: copies at a place that was swapped are none. */
export class CopyPlace {
  readonly #parts: Parts
  readonly #holder: CopyHolder
  /** Whether the place is known not to be the store itself. */
  #isElsewhere = false
  /** Whether it was not reached when it was claimed last, or not asked: it may have been put back since as it stood before. */
  #wasAway = true
  /** Putting back may go on: up to then the newest copy is looked for. As performance.now() tells it. */
  #askUntil = 0
  /** Whether it was found to be new or put back, and no claim has ended since to say so. */
  #isUntold = false

  constructor(parts: Parts) {
    this.#parts = parts
    this.#holder = new CopyHolder(parts)
  }

  /**
   * Makes sure that the place is ours. A place that is new, or was put back as it stood before, gets a copy of every version.
   * @returns whether it is such a one, or a claim that failed since found it to be: not all that was copied before is there
   * @throws {Fault} where it cannot be reached, is not the one it was, or is another store's
   */
  async claim(): Promise<boolean> {
    const { target, catalog } = this.#parts
    // Before anything is asked of the place: what waits is to be seen waiting, however long the place is away.
    await catalog.setCopyTarget(target.name, this.#now())
    const wasAway = this.#wasAway
    this.#wasAway = true
    const isMarked = (await catalog.fact(markedFact)) === target.name
    const marker = await target.get(markerName)
    if (marker === null && isMarked) throw notThePlace(target.name)
    const store = await this.#storeId()
    const isNew = marker === null || marker.length === 0
    // Its mark may have been emptied by a mistake: another store's notes would be taken for ours.
    if (isNew && isOther(saltOf(await target.get(keyringName)), store)) throw otherStore(target.name)
    const holding = await this.#holder.look()
    const counted = await this.#holder.counted()
    if (!isNew) {
      if (await this.#isOthers(marker)) throw otherStore(target.name)
      if (holding.whose === "another") throw otherService(target.name)
      await this.#requireElsewhere()
    } else {
      this.#isUntold = true
      // An empty one was put there by hand: what was copied before is not here.
      if (isMarked) await this.#queueAll()
      await this.#mark(Buffer.from(store === null ? markerText : `${markerText}Store ${store}\n`))
    }
    if (!isMarked) await catalog.setFact(markedFact, target.name)
    const isBack = holding.whose === "older" || holding.count < counted
    const isToBeAsked = !isNew && !isBack && (wasAway || performance.now() < this.#askUntil)
    const lacks = isToBeAsked ? await this.#lacksNewest() : false
    const isOlder = !isNew && (isBack || lacks === true)
    if (isOlder) {
      this.#isUntold = true
      this.#askUntil = performance.now() + putBackMs
      await this.#queueAll()
    }
    await this.#holder.claim(holding, { counted, isAnew: isNew || isOlder })
    this.#wasAway = lacks === null
    const isAnother = this.#isUntold
    this.#isUntold = false
    return isAnother
  }

  /**
   * @returns why the place is not the one that was claimed: its mount has gone, another store or service has claimed it since, or
   *   it was put back; null: it is
   * @throws {Fault} where it cannot be reached
   */
  async whyLost(): Promise<Fault | null> {
    const { target } = this.#parts
    const marker = await target.get(markerName)
    if (marker === null) return notThePlace(target.name)
    if (await this.#isOthers(marker)) return otherStore(target.name)
    const { whose } = await this.#holder.look()
    if (whose === "older") return putBack(target.name)
    return whose === "another" ? otherService(target.name) : null
  }

  /** As `whyLost`, before copies count as made: a place that is put back from now on to what it was without them is known by that. */
  async renew(): Promise<Fault | null> {
    const lost = await this.whyLost()
    if (lost === null) await this.#holder.hold()
    return lost
  }

  async #isOthers(marker: Buffer): Promise<boolean> {
    const theirs = storeLine.exec(marker.toString("latin1"))?.[1] ?? null
    return isOther(theirs, await this.#storeId())
  }

  /** What is written there must not come up here: links and mounts may lead back, and a file is no copy of itself. */
  async #mark(marker: Buffer): Promise<void> {
    const { target, files } = this.#parts
    const before = await files.read(markerName)
    await target.put(markerName, marker)
    const after = await files.read(markerName)
    if (after === null || before?.equals(after)) return
    await target.remove(markerName)
    throw sameStore(target.name)
  }

  /** A mark that stands here, too, may have come home with the copies: whether it is the same file is found out by another one. */
  async #requireElsewhere(): Promise<void> {
    const { target, files } = this.#parts
    if (this.#isElsewhere || (await files.read(markerName)) === null) return
    const probe = Buffer.from(`${randomUUID()}\n`)
    // A full place must get as far as what makes room there: it is found out another time.
    const isPut = await target.put(probeName, probe).then(() => true, unlessFull)
    if (!isPut) return
    const here = await files.read(probeName)
    await target.remove(probeName)
    if (here?.equals(probe)) throw sameStore(target.name)
    this.#isElsewhere = true
  }

  /**
   * The newest copy alone is looked for: what is lost one by one is found out in turn.
   * @returns null where that one file cannot be read, which must not hold up the others: it is asked for again
   */
  async #lacksNewest(): Promise<boolean | null> {
    const { catalog, target } = this.#parts
    const newest = await catalog.newestCopied()
    if (newest === null) return false
    try {
      return (await target.get(fileNameOf(newest))) === null
    } catch (error) {
      if (isFault(error)) return null
      throw error
    }
  }

  #queueAll(): Promise<void> {
    return this.#parts.catalog.queueCopies(this.#now())
  }

  #now(): string {
    return this.#parts.clock().toISOString()
  }

  /** What tells one store from another and outlives its keys: the salt that its keyring was made with. null: not known. */
  async #storeId(): Promise<string | null> {
    return saltOf(await this.#parts.files.read(keyringName))
  }
}

/** Whether two keyrings are known to be of two stores. */
export function areOfTwoStores(theirs: Buffer, ours: Buffer): boolean {
  return isOther(saltOf(theirs), saltOf(ours))
}

function saltOf(keyring: Buffer | null): string | null {
  return /"scryptSalt":\s*"([0-9a-f]{32})"/.exec(keyring?.toString("latin1") ?? "")?.[1] ?? null
}

function isOther(theirs: string | null, store: string | null): boolean {
  return theirs !== null && store !== null && theirs !== store
}

function notThePlace(name: string): Fault {
  return new Fault(
    "backup_storage_unavailable",
    `${name} lacks ${markerName}: it is not the place it was, or not mounted. If it is meant so, put an empty file of ` +
      "that name there: every version is then copied there anew.",
  )
}

function sameStore(name: string): Fault {
  return new Fault(
    "backup_storage_unavailable",
    `${name} leads to the directory of the backups itself, and a copy beside the original is none: name another place in ` +
      "config_management.backup_remote_path.",
  )
}

function otherStore(name: string): Fault {
  return new Fault(
    "backup_storage_unavailable",
    `${name} holds the copies of another store, and nothing is written over them. To go on with them here, as where a new ` +
      `machine's service was started before they were brought home: stop the service, move ${keyringName} here away and call ` +
      "config-manager restore-catalog. Else name another place. If they are this store's, whose keyring was lost, move " +
      `${keyringName} there away and empty ${markerName}.`,
  )
}

function putBack(name: string): Fault {
  return new Fault(
    "backup_storage_unavailable",
    `${name} was put back as it stood before: every version is copied there anew.`,
  )
}

function otherService(name: string): Fault {
  return new Fault(
    "backup_storage_unavailable",
    `Another service with this keyring, most likely on a clone of this host, copies to ${name} since this one was started, ` +
      "which copies nothing there any more: name another place for one of the two, and restart it.",
  )
}
