import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import type { ServiceParts } from "../../src/compose/services.ts"
import type { Failpoint } from "../../src/domain/failpoint.ts"
import { keyringOf } from "../blobs/blobs.ts"
import { eventually } from "../e2e/world.ts"
import { file } from "../fakes/memory-transport.ts"
import { live, makeRig, path, type Rig } from "../services/rig.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { type Audited, audit } from "./auditor.ts"
import type { FaultRun } from "./frame.ts"

interface DiskRigOptions {
  /** Where the blobs stand; default: in a directory of its own. */
  readonly location?: string
  readonly fs?: FsPort
  readonly failpoint?: Failpoint
  readonly instead?: (parts: ServiceParts) => Partial<ServiceParts>
}

/** The services over a VM in memory, with a real blob store on a disk and a real catalog. */
export interface DiskRig {
  readonly rig: Rig
  readonly store: DiskBlobStore
  readonly location: string
  /** Waits until nothing is under way, and does what the next start does about what was left for it. */
  quiet(): Promise<void>
  /** Ends a run: the auditor over the store, the catalog, and the VM's files as they stand in memory. */
  audit(run: FaultRun, allowed: readonly (string | null)[], more?: Partial<Audited>): void
  close(): Promise<void>
}

export const firstText = "port: 0\n"

export async function makeDiskRig(options: DiskRigOptions = {}): Promise<DiskRig> {
  const dir = makeTemporary("disk-rig")
  const location = options.location ?? join(dir, "backups")
  const keyring = keyringOf(0x11)
  const store = await DiskBlobStore.open({ location, keyring, fs: options.fs ?? nodeFs, failpoint: options.failpoint })
  const rig = await makeRig({
    files: { [live]: file(firstText) },
    instead: (parts) => {
      const given = { ...parts, blobs: store, failpoint: options.failpoint }
      return { ...given, ...options.instead?.(given) }
    },
  })
  return {
    rig,
    store,
    location,
    quiet: async () => {
      const open = () => rig.catalog.openOperations()
      await eventually(open, (all) => all.every(({ journal }) => journal.phase === "tidying"))
      await rig.resolver.takeUp()
      await eventually(open, (all) => all.length === 0)
    },
    audit: (run, allowed, more) => {
      const vm = join(dir, "vm")
      rmSync(vm, { recursive: true, force: true })
      for (const [name, { bytes }] of rig.transport.files) write(join(vm, name.slice(name.indexOf("/"))), bytes)
      const files = { [join(vm, path)]: allowed }
      audit(run, { files, state: rig.dir, backups: location, keys: [keyring.active], ...more })
    },
    close: async () => {
      await rig.stop()
      await rig.remove()
      await removeTemporary(dir)
    },
  }
}

function write(path: string, bytes: Buffer): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, bytes)
}
