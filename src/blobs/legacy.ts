/**
 * Reads the backups of the original Python service:
 *
 *     backup_<vm>_<type>_<YYYYMMDD_HHMMSS>.enc, directly in the directory of the backups
 *     off 0    12  nonce
 *         12   n   AES-256-GCM ciphertext, no associated data
 *         12+n 16  tag
 *
 * What is sealed is the JSON of the parsed config, or its text; `legacy-keys.ts` knows the keys.
 */
import { createDecipheriv } from "node:crypto"
import { join } from "node:path"
import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { LegacyListing, LegacyRef, LegacyStore, OpenedLegacy } from "../domain/legacy-store.ts"
import type { MasterKey } from "./cipher.ts"
import { isTime } from "./format.ts"
import { type FsPort, nodeFs, readWhole, removeForGood } from "./fs-port.ts"
import type { LegacyKeys } from "./legacy-keys.ts"
import { identityOf, requireIdentity } from "./location.ts"
import { isRefused, mayUse, storageFault } from "./storage-fault.ts"

const nonceLength = 12
const tagLength = 16
/** Far more than a config has; a larger file is not read into memory. */
const maxFileBytes = 16 * 1024 * 1024
const isCandidate = (name: string): boolean => name.startsWith("backup_") && name.endsWith(".enc")
const namePattern = /^backup_([A-Za-z0-9][A-Za-z0-9_.-]*)_(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)\.enc$/

interface DiskLegacyStoreOptions {
  readonly location: string
  readonly keys: LegacyKeys
  readonly fs?: FsPort
}

/** The original's files where they have always been, among our own blobs. */
export class DiskLegacyStore implements LegacyStore {
  readonly #location: string
  readonly #keys: LegacyKeys
  readonly #fs: FsPort
  /** Of the location when it was opened: another one means that it was unmounted, and nothing is known of its files. */
  readonly #identity: string

  private constructor(location: string, keys: LegacyKeys, fs: FsPort, identity: string) {
    this.#location = location
    this.#keys = keys
    this.#fs = fs
    this.#identity = identity
  }

  /** The location exists. */
  static async open({ location, keys, fs = nodeFs }: DiskLegacyStoreOptions): Promise<DiskLegacyStore> {
    return new DiskLegacyStore(location, keys, fs, await identityOf(fs, location))
  }

  async list(
    known: readonly ConfigRef[],
    rowOf: (backupId: string) => Promise<ConfigRef | null> = async () => null,
  ): Promise<LegacyListing> {
    const owners = Map.groupBy(new Map(known.map((ref) => [keyOf(ref), ref])).values(), startOf)
    const names = await this.names()
    const refs: LegacyRef[] = []
    const ambiguous = new Map<string, readonly ConfigRef[]>()
    for (const name of names) {
      const parts = partsOf(name)
      const fitting = parts ? owners.get(parts.start) : undefined
      if (!parts || !fitting) continue
      const row = fitting.length > 1 ? await rowOf(name) : null
      const owner = fitting.find((ref) => fitting.length === 1 || (row && keyOf(ref) === keyOf(row)))
      if (!owner) ambiguous.set(parts.start, fitting)
      else refs.push({ vmId: owner.vmId, type: owner.type, backupId: name, validFrom: parts.validFrom })
    }
    return { refs: refs.sort(byTime), unmatched: names.length - refs.length, ambiguous }
  }

  async names(): Promise<readonly string[]> {
    return (await this.#guarded(() => this.#fs.readdir(this.#location))).filter(isCandidate)
  }

  async open(backupId: string, keyId: string | null): Promise<OpenedLegacy> {
    const sealed = await this.#read(backupId)
    for await (const key of this.#keys.candidates()) {
      const plain = decrypt(sealed, key)
      if (plain) return { plain, keyId: idOf(key) }
      if (idOf(key) === keyId) throw corrupt(backupId, "the key that opened it before does not open it any more")
    }
    throw new Fault(
      "backup_key_unavailable",
      `No loaded key opens ${backupId}: it was sealed with another one, or it is damaged. Name the key file of the ` +
        "original service in config_management.encryption_old_key_paths, or give its passphrase or the text of its key file " +
        "in CONFIG_MANAGER_BACKUP_PASSPHRASE.",
    )
  }

  openSealed(sealed: Buffer): Promise<OpenedLegacy | null> {
    return openLegacy(sealed, this.#keys)
  }

  async remove(backupId: string): Promise<void> {
    if (!namePattern.test(backupId)) return
    await this.#guarded(() => removeForGood(this.#fs, join(this.#location, backupId)))
  }

  async #read(backupId: string): Promise<Buffer> {
    if (!namePattern.test(backupId)) throw missing(backupId)
    const sealed = await this.#readFile(backupId)
    if (!sealed) throw corrupt(backupId, `it is no regular file of at most ${maxFileBytes / 1048576} MiB`)
    if (sealed.length < nonceLength + tagLength) {
      throw corrupt(backupId, `it has ${sealed.length} bytes, and an empty one would have ${nonceLength + tagLength}`)
    }
    return sealed
  }

  /** @returns null for what is no regular file, or too large */
  #readFile(backupId: string): Promise<Buffer | null> {
    return this.#guarded(async () => {
      try {
        return await readWhole(this.#fs, join(this.#location, backupId), maxFileBytes)
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        // O_NOFOLLOW on a symbolic link, and sockets: neither is a file that was sealed.
        if (code === "ELOOP" || code === "ENXIO") return null
        if (isRefused(error) && (await mayUse(this.#fs, this.#location)))
          throw corrupt(backupId, "the service's user may not read it")
        throw code === "ENOENT" ? missing(backupId) : error
      }
    })
  }

  /** Whatever is found, or found gone, counts only where the location is still the one that was opened. */
  async #guarded<T>(look: () => Promise<T>): Promise<T> {
    try {
      await requireIdentity(this.#fs, this.#location, this.#identity)
      return await look()
    } catch (error) {
      throw storageFault(error, this.#location)
    }
  }
}

/** As LegacyStore.openSealed. */
export async function openLegacy(sealed: Buffer, keys: LegacyKeys): Promise<OpenedLegacy | null> {
  if (sealed.length < nonceLength + tagLength) return null
  for await (const key of keys.candidates()) {
    const plain = decrypt(sealed, key)
    if (plain) return { plain, keyId: idOf(key) }
  }
  return null
}

/** What the names of a config's files begin with; those of another may, too: `a_b` + `c` and `a` + `b_c`. */
function startOf({ vmId, type }: ConfigRef): string {
  return `backup_${vmId}_${type}_`
}

/** @returns null for a name of no possible time */
function partsOf(name: string): { readonly start: string; readonly validFrom: string } | null {
  const [, owner = "", year, month, day, hours, minutes, seconds] = namePattern.exec(name) ?? []
  const validFrom = `${year}-${month}-${day}T${hours}:${minutes}:${seconds}.000Z`
  // Nothing of ours could follow the end of time.
  const exists = isTime(validFrom) && year !== "9999"
  return exists ? { start: `backup_${owner}_`, validFrom } : null
}

function byTime(a: LegacyRef, b: LegacyRef): number {
  if (a.validFrom !== b.validFrom) return a.validFrom < b.validFrom ? -1 : 1
  return a.backupId < b.backupId ? -1 : 1
}

/** @returns null when the key is not the one that sealed, or the bytes are not those that were sealed */
function decrypt(sealed: Buffer, key: MasterKey): Buffer | null {
  const nonce = sealed.subarray(0, nonceLength)
  const decipher = createDecipheriv("aes-256-gcm", key.master, nonce, { authTagLength: tagLength })
  decipher.setAuthTag(sealed.subarray(-tagLength))
  const plain = decipher.update(sealed.subarray(nonceLength, -tagLength))
  try {
    return Buffer.concat([plain, decipher.final()])
  } catch {
    return null
  }
}

function idOf(key: MasterKey): string {
  return key.keyId.toString("hex")
}

function corrupt(backupId: string, why: string): Fault {
  return new Fault("backup_corrupt", `The file ${backupId} is damaged: ${why}.`)
}

function missing(backupId: string): Fault {
  return new Fault("backup_missing", `The file ${backupId} is gone.`)
}
