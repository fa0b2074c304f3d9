import { join } from "node:path"
import type { BlobHeader, BlobRef, BlobStore, OpenedBlob, StoreHealth } from "../domain/blob-store.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { type Failpoint, noFailpoint } from "../domain/failpoint.ts"
import { Fault, isFault } from "../domain/fault.ts"
import { keptFrom, missing, notGivenBack, requireNamed, unreadable } from "./blob-faults.ts"
import { type MasterKey, openBlob, rewrapBlob, sealBlob } from "./cipher.ts"
import { type BlobParts, decodeBlob, type Slot } from "./format.ts"
import { type FsPort, nodeFs, readWhole, removeFile, removeForGood, writeNew } from "./fs-port.ts"
import type { Keyring } from "./keyring.ts"
import { asideName, listAside, listBlobs, maxBlobBytes, putAside } from "./listing.ts"
import { identityOf, makeLocation, requireIdentity } from "./location.ts"
import { directoryOf, isSafe, pathOf, tempName } from "./names.ts"
import { keepReserve, withReserve } from "./reserve.ts"
import { isRefused, mayUse, storageFault } from "./storage-fault.ts"
import { sweepTempFiles } from "./sweep.ts"
import { BlobWriter, type SealedFile } from "./writer.ts"

/** Below this the next version may not fit. */
const roomWanted = 4 * 1024 * 1024

interface DiskBlobStoreOptions {
  readonly location: string
  readonly keyring: Keyring
  readonly fs?: FsPort
  readonly failpoint?: Failpoint
}

/** Blobs as files: `<location>/<vmId>/<type>/<backupId>.cmb`, 0600 in directories of 0700. One process owns the location. */
export class DiskBlobStore implements BlobStore {
  readonly keyId: string
  readonly #location: string
  readonly #keyring: Keyring
  readonly #fs: FsPort
  readonly #failpoint: Failpoint
  readonly #writer: BlobWriter
  /** Of the location when it was opened: another one means that it was unmounted, and what stands there now is not ours. */
  readonly #identity: string

  private constructor({ location, keyring, fs, failpoint }: Required<DiskBlobStoreOptions>, identity: string) {
    this.keyId = keyring.active.keyId.toString("hex")
    this.#location = location
    this.#keyring = keyring
    this.#fs = fs
    this.#failpoint = failpoint
    this.#writer = new BlobWriter(location, fs, failpoint)
    this.#identity = identity
  }

  /** Makes the location where it does not exist, and removes what an earlier process left half written. @throws {StartError} */
  static async open(options: DiskBlobStoreOptions): Promise<DiskBlobStore> {
    const given = { ...options, fs: options.fs ?? nodeFs, failpoint: options.failpoint ?? noFailpoint }
    const { fs, location } = given
    const identity = await makeLocation(fs, location)
    await sweepTempFiles(fs, location)
    await keepReserve(fs, location)
    return new DiskBlobStore(given, identity)
  }

  /** A store that is only read, beside the process that owns it: nothing is made, swept or kept. @throws {Fault} `backup_storage_unavailable` */
  static async read({ location, keyring }: Pick<DiskBlobStoreOptions, "location" | "keyring">): Promise<DiskBlobStore> {
    try {
      const given = { location, keyring, fs: nodeFs, failpoint: noFailpoint }
      return new DiskBlobStore(given, await identityOf(nodeFs, location))
    } catch (error) {
      throw storageFault(error, location)
    }
  }

  async put(blobs: readonly { readonly header: BlobHeader; readonly bytes: Uint8Array }[]): Promise<void> {
    const files = blobs.map(({ header, bytes }) => this.#seal(header, bytes))
    try {
      await this.#checkMounted()
      await this.#writer.write(files, (file, found) => this.#check(file, found))
      await this.#failpoint("blobs.kept")
    } catch (error) {
      throw storageFault(error, this.#location)
    }
  }

  async open(ref: BlobRef): Promise<OpenedBlob> {
    const parts = await this.#parts(ref)
    const { slot, key } = await this.#unlock(parts, ref)
    return { header: parts.header, bytes: openBlob(parts, slot, key), keyId: key.keyId.toString("hex") }
  }

  async header(ref: BlobRef): Promise<{ readonly header: BlobHeader; readonly keyId: string }> {
    const { header, slots } = await this.#parts(ref)
    return { header, keyId: slots[0]?.keyId.toString("hex") ?? "" }
  }

  async sealed(ref: BlobRef): Promise<Buffer> {
    const bytes = await this.#bytes(ref)
    requireNamed(decodeBlob(bytes), ref)
    return bytes
  }

  async opens(ref: BlobRef, sealed: Buffer): Promise<string | null> {
    try {
      const parts = decodeBlob(sealed)
      requireNamed(parts, ref)
      const { slot, key } = await this.#unlock(parts, ref)
      openBlob(parts, slot, key)
      return key.keyId.toString("hex")
    } catch (error) {
      if (isFault(error, "backup_corrupt", "backup_key_unavailable")) return null
      throw error
    }
  }

  async putSealed(ref: BlobRef, sealed: Buffer, isBetter = false): Promise<string | null> {
    if (!isSafe(ref)) throw new Error("A blob's ids must be ids.")
    const parts = decodeBlob(sealed)
    requireNamed(parts, ref)
    const standing = await this.sealed(ref).catch((error: unknown) => error)
    const opens = await this.opens(ref, sealed)
    if (Buffer.isBuffer(standing)) {
      if (!opens || (!isBetter && (await this.opens(ref, standing)))) return null
    } else if (!isFault(standing, "backup_corrupt", "backup_missing")) throw standing
    const aside = isFault(standing, "backup_missing") ? null : await this.#putAside(ref)
    await this.#replace(ref, (opens ? await this.#wrapped(parts, ref) : null) ?? sealed)
    return aside
  }

  async rewrap(ref: BlobRef): Promise<boolean> {
    const sealed = await this.#wrapped(await this.#parts(ref), ref)
    if (sealed !== null) await this.#replace(ref, sealed)
    return sealed !== null
  }

  /** A blob sealed for the active key alone; null: it is. */
  async #wrapped(parts: BlobParts, ref: BlobRef): Promise<Buffer | null> {
    const { active } = this.#keyring
    if (parts.slots.length === 1 && parts.slots[0]?.keyId.equals(active.keyId)) return null
    const { slot, key } = await this.#unlock(parts, ref)
    const sealed = rewrapBlob(parts, slot, key, active)
    const [wrapped] = decodeBlob(sealed).slots
    // What the new key does not open must not take the place of what the old one does.
    if (!wrapped || !openBlob(decodeBlob(sealed), wrapped, active).equals(openBlob(parts, slot, key))) {
      throw new Error("A blob that was wrapped anew does not open.")
    }
    return sealed
  }

  list(): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
    return this.#listed(listBlobs)
  }

  listAside(): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
    return this.#listed(listAside)
  }

  async *#listed(names: typeof listBlobs): ReturnType<typeof listBlobs> {
    try {
      await this.#checkMounted()
      yield* names(this.#fs, this.#location)
    } catch (error) {
      throw storageFault(error, this.#location)
    }
  }

  async putAside(ref: BlobRef): Promise<string | null> {
    if (!isSafe(ref)) throw missing(ref)
    return (await this.#isKeptFrom(ref)) ? null : this.#putAside(ref)
  }

  /** Whether this user may not read a blob's file, though the directory it stands in. */
  async #isKeptFrom(ref: BlobRef): Promise<boolean> {
    try {
      await readWhole(this.#fs, pathOf(this.#location, ref), 0)
      return false
    } catch (error) {
      if (!isRefused(error)) return false
      if (await mayUse(this.#fs, directoryOf(this.#location, ref))) return true
      throw storageFault(error, this.#location)
    }
  }

  async #putAside(ref: BlobRef): Promise<string> {
    try {
      return await withReserve(this.#fs, this.#location, () => putAside(this.#fs, this.#location, ref))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw storageFault(error, this.#location)
      const stands = await this.#fs.exists(pathOf(this.#location, ref)).catch(() => false)
      // It may be a link to what is not mounted.
      if (stands) throw storageFault(error, join(this.#location, asideName))
      return this.#gone(ref)
    }
  }

  async remove(ref: BlobRef): Promise<void> {
    if (!isSafe(ref)) return
    const path = pathOf(this.#location, ref)
    await this.#failpoint("blobs.removing")
    try {
      // Where nothing is mounted nothing is found: that is not "removed".
      await this.#checkMounted()
      // A copy-on-write file system needs room to remove.
      await withReserve(this.#fs, this.#location, () => removeForGood(this.#fs, path))
    } catch (error) {
      throw storageFault(error, this.#location)
    }
  }

  async health(): Promise<StoreHealth> {
    try {
      await this.#checkMounted()
      await this.#tryToWrite()
      const free = await this.#fs.freeBytes(this.#location)
      const reserved = await keepReserve(this.#fs, this.#location)
      if (free < roomWanted || !reserved) {
        const detail = `Only ${Math.floor(free / 1024)} KiB are left in ${this.#location}.`
        return { ok: false, code: "storage_full", detail }
      }
      return { ok: true, detail: `${this.#location} can be written and has ${Math.floor(free / 1048576)} MiB left.` }
    } catch (error) {
      const fault = storageFault(error, this.#location)
      const code = isFault(fault, "storage_full") ? "storage_full" : "backup_storage_unavailable"
      return { ok: false, code, detail: fault instanceof Error ? fault.message : String(fault) }
    }
  }

  #seal(header: BlobHeader, bytes: Uint8Array): SealedFile {
    const ref = { vmId: header.vm_id, type: header.type, backupId: header.backup_id }
    if (!isSafe(ref)) throw new Error("A blob's ids must be ids.")
    return { ref, sealed: sealBlob(header, bytes, this.#keyring.active) }
  }

  /** Whether what was read back is what was sealed, and opens. */
  #check(file: SealedFile, found: Buffer | null): void {
    if (found?.equals(file.sealed)) {
      const parts = decodeBlob(found)
      const slot = parts.slots[0]
      if (slot) openBlob(parts, slot, this.#keyring.active)
      return
    }
    throw notGivenBack(this.#location)
  }

  /** The blob as it stands, whole, and the one that its place says. */
  async #parts(ref: BlobRef): Promise<BlobParts> {
    const parts = decodeBlob(await this.#bytes(ref))
    requireNamed(parts, ref)
    return parts
  }

  async #bytes(ref: BlobRef): Promise<Buffer> {
    if (!isSafe(ref)) throw missing(ref)
    const bytes = await this.#read(ref)
    if (!bytes) throw new Fault("backup_corrupt", `The file of version ${ref.backupId} is not a sealed version.`)
    return bytes
  }

  async #replace(ref: BlobRef, sealed: Buffer): Promise<void> {
    try {
      await this.#checkMounted()
      await this.#writer.replace({ ref, sealed })
      const found = await readWhole(this.#fs, pathOf(this.#location, ref), sealed.length)
      if (!found?.equals(sealed)) throw notGivenBack(this.#location)
    } catch (error) {
      throw storageFault(error, this.#location)
    }
  }

  async #read(ref: BlobRef): Promise<Buffer | null> {
    try {
      return await readWhole(this.#fs, pathOf(this.#location, ref), maxBlobBytes)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      // O_NOFOLLOW on a symbolic link, and sockets: not one of ours.
      if (code === "ELOOP" || code === "ENXIO") return null
      // Bad sectors below one file: what the disk gives back no more is damaged, and may have a copy.
      if (code === "EIO") throw unreadable(ref, error)
      if (isRefused(error) && (await mayUse(this.#fs, directoryOf(this.#location, ref)))) throw keptFrom(ref, error)
      if (code !== "ENOENT" && code !== "ENOTDIR") throw storageFault(error, this.#location)
    }
    return this.#gone(ref)
  }

  /** Where nothing is mounted nothing is found: that is not "gone". */
  async #gone(ref: BlobRef): Promise<never> {
    await this.#checkMounted().catch((error: unknown) => {
      throw storageFault(error, this.#location)
    })
    throw missing(ref)
  }

  async #unlock(parts: BlobParts, ref: BlobRef): Promise<{ slot: Slot; key: MasterKey }> {
    for (const slot of parts.slots) {
      const key = await this.#keyring.find(slot)
      if (key) return { slot, key }
    }
    const ids = parts.slots.map((slot) => slot.keyId.toString("hex")).join(", ")
    throw new Fault(
      "backup_key_unavailable",
      `Version ${ref.backupId} is sealed with a key that is not loaded (${ids}). ` +
        "Name its file in config_management.encryption_old_key_paths.",
    )
  }

  #checkMounted(): Promise<void> {
    return requireIdentity(this.#fs, this.#location, this.#identity)
  }

  async #tryToWrite(): Promise<void> {
    const path = join(this.#location, tempName("probe"))
    try {
      await writeNew(this.#fs, path, Buffer.of(0))
    } finally {
      // Tried twice, for it is made again with every look at the store.
      await removeFile(this.#fs, path).catch(() => removeFile(this.#fs, path))
    }
  }
}
