import { readFileSync } from "node:fs"
import { type MasterKey, masterKey, sealBlob } from "../../src/blobs/cipher.ts"
import type { BlobHeader } from "../../src/domain/blob-store.ts"

interface KeyVector {
  readonly master: string
  readonly scryptSalt: string
  readonly keyId: string
  readonly sha256: string
}

interface Vector {
  readonly header: BlobHeader
  readonly headerLength: number
  readonly plain: string
  readonly dataKey: string
  readonly salt: string
  readonly length: number
  readonly keyFile: KeyVector
  readonly passphrase: KeyVector & { readonly passphrase: string }
}

/** The published vectors of the format (DESIGN 4). */
export const vector = JSON.parse(readFileSync(new URL("../vectors/cmb1.json", import.meta.url), "utf8")) as Vector

export function vectorKey(which: "keyFile" | "passphrase"): MasterKey {
  const { master, scryptSalt } = vector[which]
  return masterKey(Buffer.from(master, "hex"), Buffer.from(scryptSalt, "hex"))
}

export function vectorBlob(which: "keyFile" | "passphrase" = "keyFile"): Buffer {
  const random = { dataKey: Buffer.from(vector.dataKey, "hex"), salt: Buffer.from(vector.salt, "hex") }
  return sealBlob(vector.header, Buffer.from(vector.plain), vectorKey(which), random)
}
