import { randomBytes, scrypt } from "node:crypto"
import { StartError } from "../domain/start-error.ts"
import { type MasterKey, masterKey } from "./cipher.ts"
import type { Slot } from "./format.ts"
import { howToMake, readKeyFile } from "./key-file.ts"
import { type KeyringFile, readKeyringFile, writeKeyringFile } from "./keyring-file.ts"
import { LegacyKeys } from "./legacy-keys.ts"
import { requireOneOpens } from "./one-opens.ts"

/** Where keys come from; the caller has read the environment. */
export interface KeySources {
  /** A key file: it seals. */
  readonly keyPath: string | null
  /** Seals where there is no key file; opens in any case. */
  readonly passphrase: string | null
  /** Key files that open and never seal. */
  readonly oldKeyPaths: readonly string[]
  /** `keyring.json` stands here; made if it does not exist. */
  readonly backupLocation: string
  /** `--new-key`: another key than last time is meant so. */
  readonly newKey: boolean
}

/** The loaded keys: one seals, any opens. */
export interface Keyring {
  readonly active: MasterKey
  /** The loaded key that a slot is wrapped for, or null. */
  find(slot: Pick<Slot, "keyId" | "scryptSalt">): Promise<MasterKey | null>
}

/**
 * Loads the keys and holds them against `keyring.json`, where there is none against the blobs.
 * @returns with `legacy` what the same sources were keys of for the original service
 * @throws {StartError} where there is no key, a key is no good, or the key is another one than last time
 */
export async function loadKeys(sources: KeySources): Promise<Keyring & { readonly legacy: LegacyKeys }> {
  const { keyring, now, remembered } = await readKeys(sources)
  if (!remembered?.activeKeyId.equals(now.activeKeyId)) await writeKeyringFile(sources.backupLocation, now)
  return keyring
}

/** As `loadKeys`, and changes nothing. @returns which key would seal, in a sentence that shows no byte of it @throws {StartError} */
export async function inspectKeys(sources: KeySources): Promise<string> {
  const { now } = await readKeys(sources)
  const from = sources.keyPath === null ? "a passphrase" : `the key file ${sources.keyPath}`
  const opens = sources.oldKeyPaths.length === 0 ? "" : `; ${sources.oldKeyPaths.length} older key files open, too`
  return `Backups are sealed with ${from} (key id ${hex(now.activeKeyId)})${opens}.`
}

/** As `loadKeys`, beside a running service: nothing is written, and another key than last time is no reason to refuse. @throws {StartError} */
export async function loadKeysForReading(sources: KeySources): Promise<Keyring & { readonly legacy: LegacyKeys }> {
  return (await readKeys({ ...sources, newKey: true })).keyring
}

/** Keys that open files wherever they stand: no directory of backups is asked for. @throws {StartError} where there is none */
export async function loadOpeningKeys(
  keyPath: string | null,
  passphrase: string | null,
): Promise<Pick<Keyring, "find"> & { readonly legacy: LegacyKeys }> {
  if (keyPath === null && passphrase === null) {
    throw new StartError(
      "There is no key to open it with. Name the key file by --key or CONFIG_MANAGER_BACKUP_KEY_PATH (or " +
        "TH_TIMMY_CONFIG_BACKUP_KEY_PATH), or give the passphrase in CONFIG_MANAGER_BACKUP_PASSPHRASE (or " +
        "TH_TIMMY_CONFIG_BACKUP_PASSPHRASE).",
    )
  }
  const files = keyPath === null ? [] : [await readKeyFile(keyPath)]
  const known = byId(files.map(({ key }) => masterKey(key)))
  const derived = passphrase === null ? null : new PassphraseKeys(passphrase)
  return { find: (slot) => findIn(known, derived, slot), legacy: new LegacyKeys(files, passphrase) }
}

/** Before keys are changed for good: the key that sealed until now opens. Without it nothing could be moved. @throws {StartError} */
export async function requireKeyOfBefore(sources: KeySources): Promise<void> {
  const { keyring, remembered } = await readKeys({ ...sources, newKey: true })
  if (!remembered) return requireOneOpens(sources.backupLocation, keyring)
  const { activeKeyId: keyId, scryptSalt } = remembered
  if (await keyring.find({ keyId, scryptSalt })) return
  throw new StartError(
    `The key that sealed in ${sources.backupLocation} until now (${hex(keyId)}) is not loaded. Name its file in ` +
      "config_management.encryption_old_key_paths, so that backups can be moved off it.",
  )
}

async function readKeys(sources: KeySources) {
  const { keyPath, backupLocation } = sources
  if (sources.passphrase?.length === 0) throw new StartError("The passphrase of the backups is empty.")
  if (keyPath === null && sources.passphrase === null) throw noKey(sources)
  const file = keyPath === null ? null : await readKeyFile(keyPath)
  const fileKey = file && masterKey(file.key)
  const oldFiles = await Promise.all(sources.oldKeyPaths.map(readKeyFile))

  const remembered = await readKeyringFile(backupLocation)
  const scryptSalt = remembered?.scryptSalt ?? randomBytes(16)
  const derived = sources.passphrase === null ? null : new PassphraseKeys(sources.passphrase)
  const active = fileKey ?? (await derived?.derive(scryptSalt))
  if (!active) throw noKey(sources)

  const now: KeyringFile = { activeKeyId: active.keyId, scryptSalt }
  if (remembered && !remembered.activeKeyId.equals(now.activeKeyId) && !sources.newKey) {
    throw otherKey(now, remembered, backupLocation)
  }
  const oldKeys = oldFiles.map(({ key }) => masterKey(key))
  const legacy = new LegacyKeys(file ? [file, ...oldFiles] : oldFiles, sources.passphrase)
  const keyring = new LoadedKeys(active, fileKey ? [fileKey, ...oldKeys] : oldKeys, derived, legacy)
  if (!remembered && !sources.newKey) await requireOneOpens(backupLocation, keyring)
  return { keyring, now, remembered }
}

function otherKey(now: KeyringFile, before: KeyringFile, backupLocation: string): StartError {
  return new StartError(
    `The key of the backups (${hex(now.activeKeyId)}) is not the one that sealed in ${backupLocation} until now ` +
      `(${hex(before.activeKeyId)}). If that is meant so, start once with --new-key, and name the old key file in ` +
      "config_management.encryption_old_key_paths: without it, older backups cannot be opened.",
  )
}

function noKey(sources: KeySources): StartError {
  return new StartError(
    "There is no key to seal backups with. Set config_management.encryption_key_path or CONFIG_MANAGER_BACKUP_KEY_PATH " +
      "(or TH_TIMMY_CONFIG_BACKUP_KEY_PATH) to a key file, or give a passphrase in CONFIG_MANAGER_BACKUP_PASSPHRASE " +
      `(or TH_TIMMY_CONFIG_BACKUP_PASSPHRASE). ${howToMake("FILE")} ` +
      `Keep a copy of it elsewhere: without it nothing in ${sources.backupLocation} can be opened.`,
  )
}

class LoadedKeys implements Keyring {
  readonly active: MasterKey
  readonly legacy: LegacyKeys
  readonly #files: ReadonlyMap<string, MasterKey>
  readonly #derived: PassphraseKeys | null

  constructor(active: MasterKey, files: readonly MasterKey[], derived: PassphraseKeys | null, legacy: LegacyKeys) {
    this.active = active
    this.legacy = legacy
    this.#files = byId(files)
    this.#derived = derived
  }

  find(slot: Pick<Slot, "keyId" | "scryptSalt">): Promise<MasterKey | null> {
    return findIn(this.#files, this.#derived, slot)
  }
}

function byId(keys: readonly MasterKey[]): ReadonlyMap<string, MasterKey> {
  return new Map(keys.map((key) => [hex(key.keyId), key]))
}

async function findIn(
  files: ReadonlyMap<string, MasterKey>,
  derived: PassphraseKeys | null,
  slot: Pick<Slot, "keyId" | "scryptSalt">,
): Promise<MasterKey | null> {
  const file = files.get(hex(slot.keyId))
  if (file) return file
  if (!derived || slot.scryptSalt.every((byte) => byte === 0)) return null
  const key = await derived.derive(slot.scryptSalt)
  return key.keyId.equals(slot.keyId) ? key : null
}

/** N=2^17, r=8, p=1 needs 128 MiB and some tenths of a second (RFC 7914, 2). */
const scryptCost = { N: 2 ** 17, r: 8, p: 1, maxmem: 160 * 1024 * 1024 }
const saltsKept = 16

/**
 * The keys of one passphrase: one for each scrypt salt. Salts come out of blobs, which anybody may have written, so few
 * are kept, and only one key is derived at a time.
 */
class PassphraseKeys {
  readonly #passphrase: string
  readonly #bySalt = new Map<string, Promise<MasterKey>>()
  #turn: Promise<unknown> = Promise.resolve()

  constructor(passphrase: string) {
    this.#passphrase = passphrase.normalize("NFC")
  }

  derive(scryptSalt: Buffer): Promise<MasterKey> {
    const name = hex(scryptSalt)
    const known = this.#bySalt.get(name)
    // The salt in use moves to the end: what was used longest ago goes first.
    this.#bySalt.delete(name)
    const salt = Buffer.from(scryptSalt)
    const key = known ?? this.#inTurn(async () => masterKey(await stretch(this.#passphrase, salt), salt))
    this.#bySalt.set(name, key)
    // A machine that was short of memory is asked again.
    key.catch(() => this.#bySalt.delete(name))
    const oldest = this.#bySalt.keys().next().value
    if (this.#bySalt.size > saltsKept && oldest !== undefined) this.#bySalt.delete(oldest)
    return key
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }
}

function stretch(passphrase: string, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(passphrase, salt, 32, scryptCost, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

function hex(bytes: Buffer): string {
  return bytes.toString("hex")
}
