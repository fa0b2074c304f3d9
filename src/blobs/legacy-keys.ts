import { scrypt } from "node:crypto"
import { type MasterKey, masterKey } from "./cipher.ts"
import type { KeyFile } from "./key-file.ts"

/** The parameters of the original service: 16 MiB and some hundredths of a second. */
const scryptCost = { N: 2 ** 14, r: 8, p: 1 }
const scryptSalt = "th_timmy_config_backup_v1"
const keyLength = 32

/**
 * What may have sealed a backup of the original service, from the same key files and passphrase as ours.
 *
 * The original took a key file of exactly 32 bytes as the key itself, and derived the key from the text of any other file, or
 * from the passphrase. The 32 bytes that a file holds as hex or base64 are tried as well: people write a raw key down so when
 * they move.
 */
export class LegacyKeys {
  readonly #raw: readonly MasterKey[]
  readonly #secrets: readonly Buffer[]
  /** By place in `#secrets`; made when first asked for. */
  readonly #derived = new Map<number, Promise<MasterKey>>()

  constructor(files: readonly KeyFile[], passphrase: string | null) {
    this.#raw = files.map(({ key }) => masterKey(key))
    const texts = files.filter(({ bytes }) => bytes.length !== keyLength).flatMap(({ bytes }) => textsOf(bytes))
    this.#secrets = passphrase === null ? texts : [...texts, Buffer.from(passphrase)]
  }

  /**
   * Each key in turn, those that cost nothing first; one is derived only when nobody was content with those before it. All
   * who ask walk the same way, so that there is never more than one derivation under way.
   */
  async *candidates(): AsyncGenerator<MasterKey> {
    yield* this.#raw
    for (const [place, secret] of this.#secrets.entries()) yield await this.#derive(place, secret)
  }

  #derive(place: number, secret: Buffer): Promise<MasterKey> {
    const known = this.#derived.get(place)
    if (known) return known
    const key = stretch(secret)
    this.#derived.set(place, key)
    // A machine that was short of memory is asked again.
    key.catch(() => this.#derived.delete(place))
    return key
  }
}

/** The text of a key file, with the line end that an editor left and without: which of them the original took is not known. */
function textsOf(bytes: Buffer): readonly Buffer[] {
  const bare = Buffer.from(bytes.toString("latin1").trim(), "latin1")
  return bare.equals(bytes) ? [bytes] : [bare, bytes]
}

function stretch(secret: Buffer): Promise<MasterKey> {
  return new Promise((resolve, reject) => {
    scrypt(secret, scryptSalt, keyLength, scryptCost, (error, key) => (error ? reject(error) : resolve(masterKey(key))))
  })
}
