import assert from "node:assert/strict"
import { readdir } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { suite, test } from "node:test"
import { requireToldApart } from "../../src/blobs/case.ts"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

/** As SMB, vfat, or ext4 with casefold: a name is found by any case. */
const folding: FsPort = {
  ...nodeFs,
  open: (path, flags) => nodeFs.open(folded(path), flags),
  unlink: (path) => nodeFs.unlink(folded(path)),
  exists: (path) => nodeFs.exists(folded(path)),
}
const folded = (path: string): string => join(dirname(path), basename(path).toLowerCase())

function inventoryOf(vmIds: readonly string[], types: readonly string[]): Inventory {
  const vms = vmIds.map((vmId) => ({ vmId }) as Vm)
  return new Inventory(
    vms,
    types.map((type) => ({ type }) as ConfigType),
    new Map(),
  )
}

suite("Ids that differ in case alone", () => {
  for (const [what, vmIds, types] of [
    ["VMs", ["vm01", "VM01", "vm02"], ["app"]],
    ["types", ["vm01"], ["app", "App"]],
  ] as const) {
    test(`of ${what} are refused where the backups stand on a file system that folds case, and only there`, async (t) => {
      const store = makeTemporary("store")
      t.after(() => removeTemporary(store))
      const inventory = inventoryOf(vmIds, types)

      await assert.rejects(requireToldApart(store, inventory, folding), {
        name: "StartError",
        message: /^"(vm01|VM01|app|App)" and "(vm01|VM01|app|App)" differ in case alone/,
      })
      await requireToldApart(store, inventory)
      await requireToldApart(store, inventoryOf(["vm01", "vm02"], ["app"]), folding)

      assert.deepEqual(await readdir(store), [])
    })
  }
})
