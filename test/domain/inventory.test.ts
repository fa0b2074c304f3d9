import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Vm } from "../../src/domain/vm.ts"

suite("Inventory.locate", () => {
  const rules = { vm01: "/etc/own.yml", "role=edge": "/etc/edge-{vmId}.yml", default: "/etc/{name}.yml" }

  test("takes a VM's own path before that of a label, and that before the default", () => {
    const inventory = inventoryOf([vm("vm01", "edge"), vm("vm02", "edge"), vm("vm03", "web")], rules)
    assert.equal(inventory.locate({ vmId: "vm01", type: "app" }).path, "/etc/own.yml")
    assert.equal(inventory.locate({ vmId: "vm02", type: "app" }).path, "/etc/edge-vm02.yml")
    assert.equal(inventory.locate({ vmId: "vm03", type: "app" }).path, "/etc/name-of-vm03.yml")
  })

  test("fills a name in as it is, whatever it holds", () => {
    const odd = { ...vm("vm01", "web"), name: "a$$b$&c" }
    const inventory = inventoryOf([odd], { default: "/etc/{name}.yml" })
    assert.equal(inventory.locate({ vmId: "vm01", type: "app" }).path, "/etc/a$$b$&c.yml")
  })

  test("names what is missing: the VM, the type, or the path", () => {
    const inventory = inventoryOf([vm("vm01", "web")], { "role=edge": "/etc/edge.yml" })
    assert.throws(() => inventory.locate({ vmId: "vm09", type: "app" }), { code: "vm_not_found" })
    assert.throws(() => inventory.locate({ vmId: "vm01", type: "none" }), { code: "config_type_not_found" })
    assert.throws(() => inventory.locate({ vmId: "vm01", type: "app" }), { code: "config_not_mapped" })
  })

  test("finds nothing under names that every object has", () => {
    const inventory = inventoryOf([vm("constructor", "web")], {})
    assert.throws(() => inventory.locate({ vmId: "constructor", type: "app" }), { code: "config_not_mapped" })
    assert.throws(() => inventory.locate({ vmId: "toString", type: "app" }), { code: "vm_not_found" })
  })
})

function inventoryOf(vms: readonly Vm[], rules: Readonly<Record<string, string>>): Inventory {
  return new Inventory(vms, [{ type: "app" } as ConfigType], new Map([["app", rules]]))
}

function vm(vmId: string, role: string): Vm {
  return {
    vmId,
    name: `name-of-${vmId}`,
    host: "127.0.0.1",
    port: 22,
    user: "x",
    role,
    labels: { role },
    enabled: true,
    hostKeys: [],
    privateKeyPath: null,
    proxyJump: null,
  }
}
