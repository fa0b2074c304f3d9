import assert from "node:assert/strict"
import { once } from "node:events"
import { watch } from "node:fs"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { mock, suite, test } from "node:test"
import { pino } from "pino"
import type { DocumentValidator } from "../../src/domain/document-validator.ts"
import { SchemaReload } from "../../src/jobs/schema-reload.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

type Files = ReadonlyMap<string, string>

const before: Files = new Map([["central", "central.json"]])
const after: Files = new Map([...before, ["extra", "extra.json"]])

/** Takes note of what it is to load; each load ends, or fails, when the test says so. */
function heldValidator() {
  const loads: { readonly files: Files; readonly end: (error?: Error) => void }[] = []
  let told = (): void => undefined
  const validator: DocumentValidator = {
    schemas: () => [],
    schemaText: () => null,
    validate: () => Promise.reject(new Error("not asked here")),
    close: () => Promise.resolve(),
    load: (files) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      loads.push({ files, end: (error) => (error ? reject(error) : resolve()) })
      told()
      return promise
    },
  }
  const load = async (index: number) => {
    for (;;) {
      const found = loads[index]
      if (found) return found
      await new Promise<void>((resolve) => {
        told = resolve
      })
    }
  }
  return { validator, load, loads }
}

suite("A schema file that changes while other settings are taken in", () => {
  for (const [end, error, expected] of [
    ["is loaded as the new settings name it", undefined, after],
    ["is loaded as the old settings name it where the new ones are refused", new Error("no schema"), before],
  ] as const) {
    test(end, async (t) => {
      const dir = makeTemporary("schemas")
      t.after(() => removeTemporary(dir))
      mock.timers.enable({ apis: ["setTimeout"] })
      t.after(() => mock.timers.reset())
      let inForce = before
      const { validator, load, loads } = heldValidator()
      const reloading = new SchemaReload(dir, validator, () => inForce, pino({ enabled: false }))
      t.after(() => reloading.close())
      const taken = reloading.takeIn(after, () => {
        inForce = after
      })
      const first = await load(0)
      // Begun after the one of SchemaReload, which so is told first.
      const watcher = watch(dir)
      t.after(() => watcher.close())
      const changed = once(watcher, "change")
      await writeFile(join(dir, "extra.json"), "{}")
      await changed
      mock.timers.tick(1000)
      assert.equal(loads.length, 1, "the change waits for its turn")
      first.end(error)
      await (error ? assert.rejects(taken, error) : taken)

      const second = await load(1)
      second.end()
      assert.deepEqual([...second.files], [...expected])
    })
  }
})
