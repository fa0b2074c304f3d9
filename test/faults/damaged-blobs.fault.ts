import { createHash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { sealBlob } from "../../src/blobs/cipher.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import type { BlobRef } from "../../src/domain/blob-store.ts"
import { itemsOf } from "../../src/domain/catalog.ts"
import { type FaultCode, isFault } from "../../src/domain/fault.ts"
import type { Version } from "../../src/domain/version.ts"
import { aBlob, fileOf, keyringOf, type NewBlob, refOf } from "../blobs/blobs.ts"
import { anyone, caller, ref } from "../services/rig.ts"
import { type DiskRig, makeDiskRig } from "./disk-rig.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { ModelFs } from "./model-fs.ts"
import { randomFrom } from "./random.ts"

const location = "/srv/backups"
const keyring = keyringOf(0x11)
const trailerLength = 32

const small = aBlob(Buffer.alloc(35, "x"))
const large = aBlob(randomFrom(1).bytes(7777))
const blobs = [small, large]

/** A store in memory with the given bytes at the blobs' places; changing the bytes changes the files. */
async function storeOf(files: readonly (readonly [BlobRef, Buffer])[]): Promise<DiskBlobStore> {
  const entries = files.flatMap(([blob, bytes]) => {
    const path = fileOf(location, blob)
    const parts = path.split("/").slice(1, -1)
    const directories = parts.map((_, index) => [`/${parts.slice(0, index + 1).join("/")}`, null] as const)
    return [...directories, [path, bytes] as const]
  })
  return DiskBlobStore.open({ location, keyring, fs: new ModelFs(new Map<string, Buffer | null>(entries)) })
}

const sealed = ({ header, bytes }: NewBlob): Buffer => sealBlob(header, bytes, keyring.active)

/** Opens a blob that was changed: it must be refused as damaged, not as anything else, and never be opened. */
async function mustBeFound(run: FaultRun, store: DiskBlobStore, blob: BlobRef, what: string): Promise<void> {
  const outcome = await store.open(blob).then(
    () => "opened",
    (error: unknown) => (isFault(error) ? error.code : String(error)),
  )
  const known: readonly string[] = ["backup_corrupt", "backup_key_unavailable"] satisfies FaultCode[]
  if (outcome === "opened") run.found("torn", `${what}: not found`)
  else if (!known.includes(outcome)) run.found("wrong outcomes", `${what}: ${outcome}`)
}

faultRun({ id: "R8", name: "every bit of a blob flipped", ci: 1, nightly: 1 }, async (run) => {
  for (const blob of blobs) {
    const bytes = sealed(blob)
    const store = await storeOf([[refOf(blob), bytes]])
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      flip(bytes, bit)
      await mustBeFound(run, store, refOf(blob), `bit ${bit} of ${bytes.length} bytes`)
      flip(bytes, bit)
    }
    run.count("runs", bytes.length * 8)
    await store.open(refOf(blob))
    run.note(`all ${bytes.length * 8} bits of a blob of ${bytes.length} bytes`)
  }
})

faultRun({ id: "R8", name: "every bit flipped, the checksum made to fit", ci: 1, nightly: 2 }, async (run) => {
  for (const blob of blobs.slice(0, run.size)) {
    const bytes = sealed(blob)
    const intact = Buffer.from(bytes)
    const store = await storeOf([[refOf(blob), bytes]])
    for (let bit = 0; bit < (bytes.length - trailerLength) * 8; bit++) {
      flip(bytes, bit)
      fitChecksum(bytes)
      await mustBeFound(run, store, refOf(blob), `bit ${bit} of ${bytes.length} bytes, checksum fitted`)
      intact.copy(bytes)
    }
    run.count("runs", (bytes.length - trailerLength) * 8)
    await store.open(refOf(blob))
  }
})

function flip(bytes: Buffer, bit: number): void {
  bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
}

function fitChecksum(bytes: Buffer): void {
  const body = bytes.subarray(0, -trailerLength)
  createHash("sha256").update(body).digest().copy(bytes, body.length)
}

faultRun({ id: "R9", name: "truncated at every length", ci: 1, nightly: 1 }, async (run) => {
  for (const blob of blobs) {
    const bytes = sealed(blob)
    for (let length = 0; length < bytes.length; length++) {
      const store = await storeOf([[refOf(blob), bytes.subarray(0, length)]])
      await mustBeFound(run, store, refOf(blob), `${length} of ${bytes.length} bytes`)
    }
    run.count("runs", bytes.length)
  }
})

faultRun(
  { id: "R9", name: "extended, cut and extended, swapped between ids and VMs", ci: 1000, nightly: 10_000 },
  async (run) => {
    const fleet = ["vm01", "vm02"].flatMap((vm_id) =>
      ["central", "env"].flatMap((type) => [0, 1].map((n) => aBlob(`${vm_id} ${type} ${n}`, { vm_id, type }))),
    )
    const files = fleet.map((blob) => [refOf(blob), sealed(blob)] as const)
    await run.rounds(async ({ random }) => {
      const [blob, bytes] = random.pick(files)
      const others = files.filter(([each]) => each !== blob)
      const changed = random.pick([
        () => Buffer.concat([bytes, random.bytes(1 + random.int(300))]),
        () => Buffer.concat([bytes.subarray(0, random.int(bytes.length)), random.bytes(random.int(600))]),
        () => Buffer.concat([bytes, random.pick(others)[1]]),
        () => random.pick(others)[1],
      ])()
      const store = await storeOf([...others, [blob, changed]])
      await mustBeFound(run, store, blob, `${bytes.length} bytes became ${changed.length} others`)
      for (const [other] of others) await store.open(other)
    })
  },
)

faultRun(
  { id: "R8", name: "a flipped bit and the service: lists answer, nothing wrong is restored", ci: 40, nightly: 400 },
  async (run) => {
    const disk = await makeDiskRig()
    const { rig } = disk
    try {
      await run.rounds(async ({ index, random }) => {
        const text = `n: ${index}\nport: ${random.int(65_536)}\n`
        const { versionId } = await rig.put(text)
        const later = await rig.put(`${text}later: true\n`)
        const file = fileOf(disk.location, { ...ref, backupId: versionId ?? "" })
        const bytes = readFileSync(file)
        flip(bytes, random.int(bytes.length * 8))
        writeFileSync(file, bytes)

        const refused = await rig.backups
          .restore(versionId ?? "", { vmId: null, dryRun: false, precondition: anyone }, caller())
          .catch((error: unknown) => error)
        if (!isFault(refused, "backup_corrupt")) run.found("wrong outcomes", `restored: ${String(refused)}`)
        if (rig.text() !== `${text}later: true\n`) run.found("torn", "the VM's file was touched")
        const listed = itemsOf<Version>(await rig.backups.list({}, { limit: 500, cursor: null }))
        if (!listed.some(({ backupId }) => backupId === versionId)) run.found("lost", "the list leaves it out")
        const checked = await rig.backups.verify(versionId ?? "")
        if (checked.ok) run.found("wrong outcomes", "verify says it is well")

        await newestIsKeptAnew(run, disk, later.versionId ?? "", random.int(2000))
      })
    } finally {
      await disk.close()
    }
  },
)

/** The bytes that stand on the VM are not left to a newest version that no longer opens: the next change keeps them again. */
async function newestIsKeptAnew(run: FaultRun, { rig, location: backups }: DiskRig, backupId: string, bit: number) {
  const file = fileOf(backups, { ...ref, backupId })
  const bytes = readFileSync(file)
  flip(bytes, bit)
  writeFileSync(file, bytes)
  const standing = rig.text() ?? ""
  const { backupId: keptId } = await rig.put(`${standing}next: true\n`)
  const kept = await rig.backups.content(keptId ?? "").catch(() => null)
  if (kept?.bytes.toString() !== standing) run.found("lost", "the bytes that were overwritten are in no version")
}
