import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { applyPatch } from "diff"
import fc from "fast-check"
import { applyPatch as applyOperations, type Operation } from "rfc6902"
import { diffOperations, unifiedDiff } from "../../src/documents/diff.ts"
import { cpuMs, jsonValues } from "./reading.ts"

const diff = (before: string | null, after: string, path = "/etc/app.yml") =>
  unifiedDiff(path, before === null ? null : Buffer.from(before), Buffer.from(after))

suite("unifiedDiff", () => {
  test("is empty for equal bytes", () => {
    assert.equal(diff("a\n", "a\n"), "")
    assert.equal(unifiedDiff("/x", Buffer.from([0xff]), Buffer.from([0xff])), "")
  })

  test("shows a change between three lines of context", () => {
    assert.equal(
      diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
      "--- /etc/app.yml\n+++ /etc/app.yml\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n",
    )
  })

  test("shows a file that did not exist as coming from /dev/null", () => {
    assert.equal(diff(null, "a\n"), "--- /dev/null\n+++ /etc/app.yml\n@@ -0,0 +1,1 @@\n+a\n")
    assert.equal(diff(null, ""), "--- /dev/null\n+++ /etc/app.yml\n")
  })

  test("tells a missing newline at the end", () => {
    assert.equal(
      diff("a\nb\n", "a\nb"),
      "--- /etc/app.yml\n+++ /etc/app.yml\n@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n",
    )
  })

  test("keeps carriage returns visible", () => {
    assert.match(diff("a\r\n", "a\n"), /^-a\r$\n^\+a$/m)
  })

  test("tells that bytes differ which are no text, without showing them", () => {
    assert.equal(
      unifiedDiff("/etc/x", Buffer.from("text"), Buffer.from([0x61, 0xff])),
      "Binary files /etc/x and /etc/x differ\n",
    )
    assert.equal(unifiedDiff("/etc/x", null, Buffer.from([0xff])), "Binary files /dev/null and /etc/x differ\n")
  })

  test("turns the one text into the other, whatever they are", () => {
    const texts = fc
      .array(fc.constantFrom("a", "b", "c", "", "\r", "-a", "+b", "\\ x"), { maxLength: 20 })
      .map((lines) => lines.join("\n"))
    fc.assert(
      fc.property(texts, texts, (before, after) => {
        fc.pre(before !== after)
        assert.equal(applyPatch(before, diff(before, after), { autoConvertLineEndings: false }), after)
      }),
      { numRuns: 1500 },
    )
  })

  test("shows the whole file as replaced where the search takes too long, and still is a patch", () => {
    const lines = (modulus: number) =>
      Array.from({ length: 100_000 }, (_, line) => `${(line * line) % modulus}\n`).join("")
    const [before, after] = [lines(101), lines(103).slice(0, -1)]
    let patch = ""
    const used = cpuMs(() => {
      patch = diff(before, after)
    })
    assert.ok(used < 3000, `took ${used.toFixed(0)} ms of CPU`)
    assert.match(patch, /^@@ -1,100000 \+1,100000 @@$/m)
    assert.match(patch, /\\ No newline at end of file\n$/)
    assert.equal(applyPatch(before, patch), after)
  })

  test("shows texts of more lines than can be searched in a moment as replaced whole, and at once", () => {
    const before = "\n".repeat(1_048_500)
    const after = `${"\n".repeat(1_048_000)}x${"\n".repeat(50)}`
    let patch = ""
    const used = cpuMs(() => {
      patch = diff(before, after)
    })
    assert.ok(used < 700, `took ${used.toFixed(0)} ms of CPU`)
    assert.ok(patch.startsWith("--- /etc/app.yml\n+++ /etc/app.yml\n@@ -1,1048500 +1,1048050 @@\n-\n-\n"))
    assert.ok(patch.endsWith(`\n+x\n${"+\n".repeat(49)}`))
    assert.equal(patch.length, before.length * 2 + after.length + 1_048_050 + patch.indexOf("@@\n") + 3)
  })
})

suite("diffOperations", () => {
  test("turn the one value into the other", () => {
    fc.assert(
      fc.property(jsonValues, jsonValues, (before, after) => {
        const holder = { value: structuredClone(before) }
        const operations = diffOperations({ value: before }, { value: after })
        const failures = applyOperations(holder, structuredClone(operations) as Operation[])
        assert.ok(failures.every((failure) => failure === null))
        assert.deepEqual(holder.value, after)
      }),
      { numRuns: 1500 },
    )
  })

  test("are none for equal values", () => {
    fc.assert(fc.property(jsonValues, (value) => assert.deepEqual(diffOperations(value, structuredClone(value)), [])))
  })

  test("name only what changed", () => {
    assert.deepEqual(diffOperations({ a: { b: 1, "c/~": 2 }, d: [1] }, { a: { b: 1, "c/~": 3 }, e: [1] }), [
      { op: "remove", path: "/d" },
      { op: "replace", path: "/a/c~1~0", value: 3 },
      { op: "add", path: "/e", value: [1] },
    ])
  })

  test("put one item into a list and take one out by one operation", () => {
    assert.deepEqual(diffOperations([1, 2, 4], [1, 2, 3, 4]), [{ op: "add", path: "/2", value: 3 }])
    assert.deepEqual(diffOperations([1, 2, 3, 4], [1, 3, 4]), [{ op: "remove", path: "/1" }])
    assert.deepEqual(diffOperations([1, 2], [1, 2, 3]), [{ op: "add", path: "/2", value: 3 }])
    assert.deepEqual(diffOperations([], [1]), [{ op: "add", path: "/0", value: 1 }])
  })

  test("are not misled by names of Object.prototype", () => {
    assert.deepEqual(diffOperations({ constructor: 1 }, { toString: 1 }), [
      { op: "remove", path: "/constructor" },
      { op: "add", path: "/toString", value: 1 },
    ])
  })

  test("replace the root where the kinds differ", () => {
    for (const [before, after] of [
      [{}, []],
      [[], {}],
      [null, {}],
      ["1", 1],
    ]) {
      assert.deepEqual(diffOperations(before, after), [{ op: "replace", path: "", value: after }])
    }
  })

  test("replace the root where a long key would stand in the path of too many", () => {
    const under = (key: string, item: number) => ({ [key]: Array<number>(20_000).fill(item) })
    assert.equal(diffOperations(under("k", 1), under("k", 2)).length, 20_000)
    const long = "k".repeat(1000)
    const operations = diffOperations(under(long, 1), under(long, 2))
    // Their number first: the operations that would stand here are more than an assertion can show.
    assert.equal(operations.length, 1)
    assert.deepEqual(operations, [{ op: "replace", path: "", value: under(long, 2) }])
  })

  test("look at what lies under many lists as often as at what lies under one", () => {
    const readsUnder = (levels: number): number => {
      let reads = 0
      const counted = (item: number) =>
        new Proxy([item], {
          get(list, key) {
            reads++
            return Reflect.get(list, key)
          },
        })
      const nested = (list: unknown): unknown => Array.from({ length: levels }).reduce((inner) => [inner], list)
      assert.equal(diffOperations(nested(counted(1)), nested(counted(2))).length, 1)
      return reads
    }
    assert.equal(readsUnder(90), readsUnder(1))
  })

  test("tell lists with equal members apart from records, texts from numbers, and take the order of keys for none", () => {
    const item = { a: [1, "1"], b: { c: null } }
    assert.deepEqual(diffOperations([item, 0], [{ b: { c: null }, a: [1, "1"] }, 0, 1]), [
      { op: "add", path: "/2", value: 1 },
    ])
    for (const other of [
      { ...item, a: ["1", 1] },
      { ...item, a: { 0: 1, 1: "1" } },
      { ...item, b: { c: "null" } },
    ]) {
      assert.notDeepEqual(diffOperations([item], [other]), [])
    }
  })

  test("take long lists in their stride", () => {
    const list = (factor: number) => Array.from({ length: 25_000 }, (_, id) => ({ id: (id * factor) % 25_000 }))
    const used = cpuMs(() => diffOperations(list(1), list(7)))
    assert.ok(used < 1500, `took ${used.toFixed(0)} ms of CPU`)
  })
})
