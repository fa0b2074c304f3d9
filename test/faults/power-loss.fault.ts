import { createHash } from "node:crypto"
import { masterKey } from "../../src/blobs/cipher.ts"
import type { FsPort } from "../../src/blobs/fs-port.ts"
import { type KeyringFile, readKeyringFile, writeKeyringFile } from "../../src/blobs/keyring-file.ts"
import { DiskNotes } from "../../src/blobs/notes.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { isFault } from "../../src/domain/fault.ts"
import type { Note } from "../../src/domain/notes.ts"
import { aBlob, keyringOf, type NewBlob, refOf } from "../blobs/blobs.ts"
import { interpose } from "../blobs/faulty-fs.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { ModelFs, type Tree } from "./model-fs.ts"
import type { Random } from "./random.ts"

const location = "/srv/backups"
const keyring = keyringOf(0x11)
const machine: Tree = new Map([["/srv", null]])
const enoughRoom = 1024 ** 3

type Done = (what: string) => void

/** What stands after a power cut, and what had been acknowledged by then. */
interface Outage {
  readonly tree: Tree
  readonly acknowledged: readonly string[]
}

interface Scenario {
  readonly name: string
  /** What was done before, and has reached the disk. */
  readonly before?: (fs: ModelFs) => Promise<void>
  /** Tells by `done` what it has acknowledged. */
  readonly act: (fs: ModelFs, done: Done, random: Random) => Promise<void>
  /** Starts again after an outage, and holds what it finds against what may be there. */
  readonly audit: (run: FaultRun, outage: Outage) => Promise<void>
}

/** Does the act of a scenario with its calls in another order each time, and audits every state that a power cut can leave. */
function powerRun({ name, before, act, audit }: Scenario): void {
  faultRun({ id: "R3", name: `power loss, every state: ${name}`, ci: 20, nightly: 400 }, async (run) => {
    const calm = new ModelFs(machine)
    await before?.(calm)
    for (let schedule = 0; schedule < run.size; schedule++) {
      for (const outage of await outagesOf(calm.tree(), run.random, act)) {
        await audit(run, outage)
        run.count("runs")
      }
    }
  })
}

/** @returns every outage that can come of `act` when the power goes after any of its calls, each once */
async function outagesOf(start: Tree, random: Random, act: Scenario["act"]): Promise<readonly Outage[]> {
  const fs = new ModelFs(start, async () => {
    for (let turns = random.int(4); turns > 0; turns--) await Promise.resolve()
  })
  const found = new Map<string, Outage>()
  const acknowledged: string[] = []
  const cut = (): void => {
    for (const tree of fs.crashStates())
      found.set(fingerprint(tree, acknowledged), { tree, acknowledged: [...acknowledged] })
  }
  fs.onStep = cut
  const done = (what: string): void => {
    acknowledged.push(what)
    cut()
  }
  await act(fs, done, random)
  return [...found.values()]
}

function fingerprint(tree: Tree, acknowledged: readonly string[]): string {
  const hash = createHash("sha256").update(acknowledged.join())
  for (const path of [...tree.keys()].sort()) hash.update(`\0${path}\0`).update(tree.get(path) ?? "directory")
  return hash.digest("base64")
}

const openStore = (fs: FsPort): Promise<DiskBlobStore> => DiskBlobStore.open({ location, keyring, fs })

const put = async (store: DiskBlobStore, done: Done, blobs: Readonly<Record<string, NewBlob>>): Promise<void> => {
  await store.put(Object.values(blobs))
  for (const name of Object.keys(blobs)) done(`put ${name}`)
}

/** Opens the store after an outage, and holds each blob against what may have become of it. */
const auditStore =
  (blobs: Readonly<Record<string, NewBlob>>): Scenario["audit"] =>
  async (run, { tree, acknowledged }) => {
    const fs = new ModelFs(tree)
    const store = await openStore(fs)
    for (const [name, blob] of Object.entries(blobs)) {
      const found = await store.open(refOf(blob)).catch((error: unknown) => error)
      const isWhole = !(found instanceof Error) && blob.bytes.equals((found as { bytes: Buffer }).bytes)
      const isGone = isFault(found, "backup_missing")
      if (!isWhole && !isGone) run.found("torn", `${name} is half a blob: ${String(found)}`)
      if (acknowledged.includes(`put ${name}`) && isGone) run.found("lost", `${name} was kept and is gone`)
      if (acknowledged.includes(`removed ${name}`) && isWhole) run.found("wrong outcomes", `${name} is back`)
    }
    const left = [...fs.tree().keys()].filter((path) => path.endsWith(".tmp"))
    if (left.length > 0) run.found("wrong outcomes", `left after the start: ${left.join(", ")}`)
  }

const [a, b, c] = [aBlob("a: 1\n"), aBlob("b: 2\n"), aBlob("c: 3\n", { type: "env" })]
const ownStore = async (fs: ModelFs): Promise<void> => void (await openStore(fs))

powerRun({
  name: "the first put of a new location",
  act: async (fs, done) => put(await openStore(fs), done, { a }),
  audit: auditStore({ a }),
})

powerRun({
  name: "a put of two blobs of one config",
  before: async (fs) => (await openStore(fs)).put([c]),
  act: async (fs, done) => {
    done("put c")
    await put(await openStore(fs), done, { a, b })
  },
  audit: auditStore({ a, b, c }),
})

powerRun({
  name: "a put of two blobs of two configs",
  before: ownStore,
  act: async (fs, done) => put(await openStore(fs), done, { a, c }),
  audit: auditStore({ a, c }),
})

powerRun({
  name: "two puts at once in a new directory",
  before: ownStore,
  act: async (fs, done) => {
    const store = await openStore(fs)
    await Promise.all([put(store, done, { a }), put(store, done, { b })])
  },
  audit: auditStore({ a, b }),
})

powerRun({
  name: "a blob removed beside one that stays",
  before: async (fs) => (await openStore(fs)).put([a, b]),
  act: async (fs, done) => {
    done("put b")
    await (await openStore(fs)).remove(refOf(a))
    done("removed a")
  },
  audit: auditStore({ a, b }),
})

powerRun({
  name: "a blob put aside stands in the one place or the other",
  before: async (fs) => (await openStore(fs)).put([a, b]),
  act: async (fs) => void (await (await openStore(fs)).putAside(refOf(a))),
  audit: async (run, { tree }) => {
    const places = [...tree].filter(([path, bytes]) => bytes !== null && path.includes(a.header.backup_id))
    if (places.length === 0) run.found("lost", "the file that was put aside is nowhere")
  },
})

powerRun({
  name: "a process killed in the middle of its first put, then a put of the next",
  act: async (fs, done, random) => {
    await killedAfter(fs, random.int(60), async (port) => put(await openStore(port), done, { a }))
    await put(await openStore(fs), done, { b })
  },
  audit: auditStore({ a, b }),
})

/** Does `work`, of whose calls to the file system only the first `calls` are made: the process is gone then. */
async function killedAfter(fs: ModelFs, calls: number, work: (port: FsPort) => Promise<void>): Promise<void> {
  const gone = Promise.withResolvers<never>()
  let made = 0
  const port = interpose(fs, (call) => {
    made += 1
    if (made <= calls) return call()
    gone.reject(new Error("killed"))
    return new Promise(() => {})
  })
  await Promise.race([work(port), gone.promise]).catch(() => {})
}

powerRun({
  name: "the reserve is whole, or made again",
  act: async (fs) => {
    fs.free = enoughRoom
    await openStore(fs)
  },
  audit: async (run, { tree }) => {
    const fs = new ModelFs(tree)
    fs.free = enoughRoom
    await openStore(fs)
    const size = fs.tree().get(`${location}/.reserve`)?.length
    if (size !== 1024 * 1024) run.found("wrong outcomes", `the reserve has ${size} bytes`)
  },
})

const [oldKey, newKey] = [0x21, 0x22].map((byte) => ({
  activeKeyId: masterKey(Buffer.alloc(32, byte)).keyId,
  scryptSalt: Buffer.alloc(16, byte),
})) as [KeyringFile, KeyringFile]

/** It stands there as one of `allowed`, and as the last of them once that was acknowledged. */
const auditKeyring =
  (...allowed: readonly (KeyringFile | null)[]): Scenario["audit"] =>
  async (run, { tree, acknowledged }) => {
    const nameOf = (key: KeyringFile | null): string => key?.activeKeyId.toString("hex") ?? "missing"
    const found = await readKeyringFile(location, new ModelFs(tree)).then(nameOf, String)
    const names = allowed.map(nameOf)
    if (!names.includes(found)) run.found("torn", `keyring.json is ${found}`)
    else if (acknowledged.length > 0 && found !== names.at(-1)) run.found("lost", `keyring.json is ${found}`)
  }

const writeKeyring: Scenario["act"] = async (fs, done) => {
  await writeKeyringFile(location, newKey, fs)
  done("keyring.json")
}

powerRun({
  name: "keyring.json written for the first time",
  act: writeKeyring,
  audit: auditKeyring(null, newKey),
})

powerRun({
  name: "keyring.json replaced",
  before: (fs) => writeKeyringFile(location, oldKey, fs),
  act: writeKeyring,
  audit: auditKeyring(oldKey, newKey),
})

const [one, two, three] = ["2026-01-01", "2026-01-02", "2026-01-03"].map((day, index) => ({
  at: `${day}T00:00:00.000Z`,
  backupId: `019b7c1e-2f4e-7000-8000-00000000000${index}`,
  note: "n".repeat(40),
})) as [Note, Note, Note]

const append = async (fs: FsPort, done: Done, ...notes: readonly Note[]): Promise<void> => {
  await new DiskNotes(location, fs).append(notes)
  for (const { at } of notes) done(at)
}

/** Those that were acknowledged are there, in their order; no other than those that were written. */
const auditNotes: Scenario["audit"] = async (run, { tree, acknowledged }) => {
  const found = (await new DiskNotes(location, new ModelFs(tree)).read()).map(({ at }) => at)
  const lost = acknowledged.filter((at) => !found.includes(at))
  if (lost.length > 0) run.found("lost", `notes that were kept: ${lost.join(", ")}`)
  if (found.join() !== [...found].sort().join()) run.found("wrong outcomes", `the order is ${found.join(", ")}`)
}

powerRun({
  name: "the first notes",
  before: ownStore,
  act: (fs, done) => append(fs, done, one, two),
  audit: auditNotes,
})

powerRun({
  name: "notes behind others",
  before: async (fs) => {
    await ownStore(fs)
    await append(fs, () => {}, one)
  },
  act: async (fs, done) => {
    done(one.at)
    await append(fs, done, two)
    await append(fs, done, three)
  },
  audit: auditNotes,
})

powerRun({
  name: "notes replaced by fewer",
  before: async (fs) => {
    await ownStore(fs)
    await append(fs, () => {}, one, two, three)
  },
  act: async (fs, done) => {
    for (const { at } of [one, three]) done(at)
    await new DiskNotes(location, fs).replace([one, three])
  },
  audit: auditNotes,
})

powerRun({
  name: "a process killed while it writes its first note, then a note of the next",
  before: ownStore,
  act: async (fs, done, random) => {
    await killedAfter(fs, random.int(12), (port) => append(port, done, one))
    await append(fs, done, two)
  },
  audit: auditNotes,
})
