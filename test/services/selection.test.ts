import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory, type PathRules } from "../../src/domain/inventory.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { type Selection, selectConfigs, selectVms } from "../../src/services/selection.ts"
import { configType } from "../http/stand-ins.ts"

function vm(vmId: string, labels: Readonly<Record<string, string>> = {}, enabled = true): Vm {
  const ways = {
    name: vmId,
    host: "127.0.0.1",
    port: 22,
    user: "x",
    hostKeys: [],
    privateKeyPath: null,
    proxyJump: null,
  }
  return { ...ways, vmId, role: null, labels, enabled }
}

const vms = [
  vm("vm3", { role: "edge", site: "lab" }),
  vm("vm1", { role: "edge" }),
  vm("vm2", { role: "core" }),
  vm("off", { role: "edge" }, false),
]
const types: readonly ConfigType[] = [configType("central", "yaml"), configType("env", "env")]
const inventory = new Inventory(
  vms,
  types,
  new Map<string, PathRules>([
    ["central", { default: "/c" }],
    ["env", { vm1: "/e", "role=core": "/e" }],
  ]),
)

suite("A selection", () => {
  const selections: readonly [Selection, readonly string[]][] = [
    [{ all: true }, ["vm1", "vm2", "vm3"]],
    [{ all: true, exclude: ["vm2", "off"] }, ["vm1", "vm3"]],
    [{ vmIds: ["vm3", "vm1", "vm3"] }, ["vm1", "vm3"]],
    [{ vmIds: ["off"] }, ["off"]],
    [{ vmIds: ["off", "vm1"], exclude: ["vm1"] }, ["off"]],
    [{ labels: { role: "edge" } }, ["vm1", "vm3"]],
    [{ labels: { role: "edge", site: "lab" } }, ["vm3"]],
    [{ vmIds: ["vm2"], labels: { site: "lab" } }, ["vm2", "vm3"]],
    [{ vmIds: ["vm1"], labels: { role: "none" } }, ["vm1"]],
    [{ labels: { role: "none" } }, []],
    [{ labels: { toString: "x" } }, []],
    [{ exclude: ["vm1"] }, []],
  ]
  for (const [select, found] of selections) {
    test(`${JSON.stringify(select)} names ${found.length === 0 ? "nothing" : found.join(", ")}`, () => {
      assert.deepEqual(
        selectVms(select, inventory).map(({ vmId }) => vmId),
        found,
      )
    })
  }
})

suite("The configs of a selection", () => {
  test("are those that have a path, by VM and then by type", () => {
    assert.deepEqual(
      selectConfigs({ all: true }, null, inventory).map(({ vmId, type }) => `${vmId}/${type}`),
      ["vm1/central", "vm1/env", "vm2/central", "vm2/env", "vm3/central"],
    )
  })

  test("are of the types that are named, each once", () => {
    assert.deepEqual(selectConfigs({ all: true }, ["env", "env"], inventory), [
      { vmId: "vm1", type: "env" },
      { vmId: "vm2", type: "env" },
    ])
  })

  const refused: readonly [Selection, readonly string[] | null, readonly string[]][] = [
    [{ vmIds: ["vm1", "gone", "vm9"] }, null, ["/select/vmIds/1", "/select/vmIds/2"]],
    [{ all: true, exclude: ["vm1", "mv2"] }, null, ["/select/exclude/1"]],
    [{ vmIds: ["__proto__"] }, null, ["/select/vmIds/0"]],
    [{ all: true, vmIds: ["vm1"] }, null, ["/select/all"]],
    [{ all: true, labels: { role: "edge" } }, null, ["/select/all"]],
    [{ all: true }, ["central", "centrla"], ["/types/1"]],
    [{ labels: { role: "none" } }, null, ["/select"]],
    [{ exclude: ["vm1"] }, null, ["/select"]],
    [{ vmIds: ["vm3"] }, ["env"], ["/select"]],
    [{ vmIds: ["vm1"], exclude: ["vm1"] }, null, ["/select"]],
  ]
  for (const [select, named, pointers] of refused) {
    test(`${JSON.stringify([select, named])} is refused`, () => {
      assert.throws(
        () => selectConfigs(select, named, inventory),
        (error: unknown) => {
          assert.ok(error instanceof Fault)
          assert.equal(error.code, "invalid_body")
          assert.deepEqual(
            error.details.errors?.map(({ pointer }) => pointer),
            pointers,
          )
          return true
        },
      )
    })
  }

  test("names 100 unknown ids at most", () => {
    const vmIds = Array.from({ length: 300 }, (_, index) => `gone${index}`)
    assert.throws(
      () => selectConfigs({ vmIds }, null, inventory),
      (error: unknown) =>
        error instanceof Fault && error.details.errors?.length === 100 && error.details.truncated === true,
    )
  })
})
