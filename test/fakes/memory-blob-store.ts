import type { BlobHeader, BlobRef, BlobStore, OpenedBlob, StoreHealth } from "../../src/domain/blob-store.ts"
import type { ConfigRef } from "../../src/domain/config-type.ts"
import { Fault, type FaultCode } from "../../src/domain/fault.ts"
import { idPattern } from "../../src/domain/vm.ts"

type Method = "put" | "open" | "remove" | "list"

/** A BlobStore in memory. `failing` makes a method reject, until it is taken out again. */
export class MemoryBlobStore implements BlobStore {
  readonly keyId = "00112233445566778899aabbccddeeff"
  /** By `vmId/type/backupId`. */
  readonly blobs = new Map<string, { readonly header: BlobHeader; readonly bytes: Buffer }>()
  readonly failing = new Map<Method, FaultCode>()
  /** What a method waits for before it does anything; one that never resolves is a store that hangs. */
  readonly holding = new Map<Method, Promise<void>>()
  readonly damaged = new Set<string>()
  /** What was put aside, by the same keys. */
  readonly aside = new Map<string, Buffer>()

  async put(blobs: readonly { readonly header: BlobHeader; readonly bytes: Uint8Array }[]): Promise<void> {
    this.#failIfAsked("put")
    await this.holding.get("put")
    const entries = blobs.map(({ header, bytes }) => {
      const ref = { vmId: header.vm_id, type: header.type, backupId: header.backup_id }
      if (!isSafe(ref)) throw new Error("A blob's ids must be ids.")
      if (header.plain_len !== bytes.length)
        throw new Error("A blob's header tells another length than its bytes have.")
      return [keyOf(ref), { header: { ...header }, bytes: Buffer.from(bytes) }] as const
    })
    if (entries.some(([key]) => this.blobs.has(key))) {
      throw new Fault("backup_storage_unavailable", "A version of that id stands there already.")
    }
    for (const [key, blob] of entries) this.blobs.set(key, blob)
  }

  async open(ref: BlobRef): Promise<OpenedBlob> {
    this.#failIfAsked("open")
    await this.holding.get("open")
    const blob = this.blobs.get(keyOf(ref))
    if (!blob) throw new Fault("backup_missing", `The file of version ${ref.backupId} is gone.`)
    if (this.damaged.has(keyOf(ref))) throw new Fault("backup_corrupt", "The sealed version is damaged.")
    return { header: blob.header, bytes: Buffer.from(blob.bytes), keyId: this.keyId }
  }

  async remove(ref: BlobRef): Promise<void> {
    this.#failIfAsked("remove")
    await this.holding.get("remove")
    this.blobs.delete(keyOf(ref))
  }

  /** Sealed is here what can be told apart from a cut or another blob, and no more. */
  async sealed(ref: BlobRef): Promise<Buffer> {
    const { header, bytes } = await this.open(ref)
    return Buffer.from(`${JSON.stringify({ header, bytes: bytes.toString("base64") })}\n`)
  }

  async opens(ref: BlobRef, sealed: Buffer): Promise<string | null> {
    return isNamed(ref, sealed) ? this.keyId : null
  }

  async putSealed(ref: BlobRef, sealed: Buffer, isBetter = false): Promise<string | null> {
    this.#failIfAsked("put")
    if (!isNamed(ref, sealed)) throw new Fault("backup_corrupt", "The sealed bytes are not those of the version.")
    const blob = JSON.parse(sealed.toString())
    if (this.blobs.has(keyOf(ref)) && !this.damaged.has(keyOf(ref)) && !isBetter) return null
    const aside = this.blobs.has(keyOf(ref)) ? await this.putAside(ref) : null
    this.blobs.set(keyOf(ref), { header: blob.header, bytes: Buffer.from(blob.bytes, "base64") })
    this.damaged.delete(keyOf(ref))
    return aside
  }

  async rewrap(ref: BlobRef): Promise<boolean> {
    await this.open(ref)
    return false
  }

  async header(ref: BlobRef): Promise<{ readonly header: BlobHeader; readonly keyId: string }> {
    // In the clear: a store whose key is gone tells it all the same.
    if (this.failing.get("open") !== "backup_key_unavailable") this.#failIfAsked("open")
    const blob = this.blobs.get(keyOf(ref))
    if (!blob) throw new Fault("backup_missing", `The file of version ${ref.backupId} is gone.`)
    if (this.damaged.has(keyOf(ref))) throw new Fault("backup_corrupt", "The sealed version is damaged.")
    return { header: blob.header, keyId: this.keyId }
  }

  list(): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
    return this.#listed(this.blobs)
  }

  listAside(): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
    return this.#listed(this.aside)
  }

  async *#listed(
    blobs: ReadonlyMap<string, unknown>,
  ): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
    this.#failIfAsked("list")
    const refs = [...blobs.keys()].sort().map((key) => key.split("/"))
    const configs = new Map<string, string[]>()
    for (const [vmId, type, backupId = ""] of refs) {
      configs.set(`${vmId}/${type}`, [...(configs.get(`${vmId}/${type}`) ?? []), backupId])
    }
    for (const [config, backupIds] of configs) {
      const [vmId = "", type = ""] = config.split("/")
      yield { ref: { vmId, type }, backupIds }
    }
  }

  async putAside(ref: BlobRef): Promise<string> {
    this.#failIfAsked("remove")
    const blob = this.blobs.get(keyOf(ref))
    if (!blob) throw new Fault("backup_missing", `The file of version ${ref.backupId} is gone.`)
    this.blobs.delete(keyOf(ref))
    this.aside.set(keyOf(ref), blob.bytes)
    return `aside/${keyOf(ref)}`
  }

  async health(): Promise<StoreHealth> {
    const failing = this.failing.get("put")
    const code = failing === "storage_full" ? failing : "backup_storage_unavailable"
    return failing
      ? { ok: false, code, detail: `Putting fails: ${failing}.` }
      : { ok: true, detail: "Memory can be written." }
  }

  /** From now on this blob is `backup_corrupt`. */
  damage(ref: BlobRef): void {
    this.damaged.add(keyOf(ref))
  }

  #failIfAsked(method: Method): void {
    const code = this.failing.get(method)
    if (code) throw new Fault(code, `The store was told to fail: ${code}.`)
  }
}

function isNamed(ref: BlobRef, sealed: Buffer): boolean {
  const blob = sealed.at(-1) === 10 ? JSON.parse(sealed.toString()) : null
  const { backup_id, vm_id, type } = blob?.header ?? {}
  return keyOf({ vmId: vm_id, type, backupId: backup_id }) === keyOf(ref)
}

function keyOf({ vmId, type, backupId }: BlobRef): string {
  return `${vmId}/${type}/${backupId}`
}

function isSafe(ref: BlobRef): boolean {
  return [ref.vmId, ref.type, ref.backupId].every((part) => idPattern.test(part))
}
