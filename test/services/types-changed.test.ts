import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, ref, withRig } from "./rig.ts"

const options = { validate: true, backup: true, dryRun: false, precondition: anyone }

suite("a JSON body over a YAML file with keys and dates that JSON does not have", () => {
  const text = "ports: {80: http, 443: https}\nvalid_until: 2027-01-01\nworkers: 2\n"
  const value = { ports: { 80: "http", 443: "https" }, valid_until: "2027-01-01" }

  test("says how many become text", async () => {
    await withRig({ files: { [live]: file(text) }, type: { yamlVersion: null } }, async ({ configs }) => {
      const { warnings } = await configs.put(ref, { value: { ...value, workers: 4 } }, options, caller())
      const [changed] = warnings.filter(({ code }) => code === "types_changed")
      assert.match(changed?.message ?? "", /^Keys and dates of the live file become text, 3 of them: /)
      // They are text by now.
      const again = await configs.put(ref, { value: { ...value, workers: 5 } }, options, caller())
      assert.ok(!again.warnings.some(({ code }) => code === "types_changed"))
    })
  })

  test("says nothing where it changes nothing, or is the text itself", async () => {
    await withRig({ files: { [live]: file(text) }, type: { yamlVersion: null } }, async ({ configs, put }) => {
      const same = await configs.put(ref, { value: { ...value, workers: 2 } }, options, caller())
      // But for what a caller who sends the text itself is told of it, too.
      const raw = await put(text)
      assert.deepEqual([same.outcome, same.warnings], ["unchanged", raw.warnings])
      assert.deepEqual(
        raw.warnings.map(({ code, pointer }) => [code, pointer]),
        [
          ["ambiguous_yaml", "/valid_until"],
          ["no_schema", undefined],
        ],
      )
      const { warnings } = await put(text.replace("2\n", "4\n"))
      assert.ok(!warnings.some(({ code }) => code === "types_changed"))
    })
  })
})

suite("a JSON body over a YAML file whose values YAML 1.1 reads otherwise", () => {
  const text = "enabled: no\numask: 0022\nwindows: [12:30, 1]\nbig: 1e3\nplain: 1\n"
  const value = { enabled: "no", umask: 22, windows: ["12:30", 1], big: 1000, plain: 1 }
  const told = async (body: unknown, yamlVersion: "1.1" | "1.2" | null = null, before = text) => {
    let messages: readonly string[] = []
    await withRig({ files: { [live]: file(before) }, type: { yamlVersion } }, async ({ configs }) => {
      const { warnings } = await configs.put(ref, { value: body }, options, caller())
      messages = warnings.filter(({ code }) => code === "types_changed").map(({ message }) => message)
    })
    return messages.map((message) => /^\d+/.exec(message)?.[0])
  }

  test("says how many are others to such a reader from now on", async () => {
    assert.deepEqual(await told({ ...value, plain: 2 }), ["4"])
    assert.deepEqual(await told({ a: 1, b: "yes" }, null, "x: &x {b: yes}\na: 2\n<<: *x\n"), ["1"])
    assert.deepEqual(await told({ a: 1, b: "yes" }, null, "a: 2\n<<: {b: yes}\n"), ["1"])
  })

  test("counts a block that the file ends in without a line end, where it is taken along", async () => {
    const unended = "port: 80\nsecret: |\n  s3cret"
    assert.deepEqual(await told({ port: 81, secret: "s3cret" }, null, unended), ["1"])
    assert.deepEqual(await told({ port: 80, secret: "s3cret\n" }, null, unended), [])
    assert.deepEqual(await told({ port: 81, secret: "s3cret\n" }, null, `${unended}\n`), [])
    assert.deepEqual(await told({ port: 80, secret: "s3cret" }, null, unended), [])
  })

  test("counts those in a list that is longer now, and none that the caller has changed or taken away", async () => {
    assert.deepEqual(await told({ ...value, windows: [0, "12:30", 1] }), ["4"])
    assert.deepEqual(await told({ enabled: false, umask: 18, windows: "12:30" }), [])
    assert.deepEqual(await told({ a: "no" }, null, "a: {b: no, c: [no]}\n"), [])
    assert.deepEqual(await told({ windows: ["12:31", 1], port: 23 }), [])
    assert.deepEqual(await told({ ...value, windows: ["12:31", 1] }), ["3"])
  })

  test("counts each once that reaches the new text by an alias, a merge key, another place in its list or another key", async () => {
    const [aliased, merged] = ["a: &x no\nb: *x\nc: *x\n", "base: &b {debug: no}\nsvc: {<<: *b, port: 2}\n"]
    assert.deepEqual(await told({ a: "maybe", b: "no", c: "no" }, null, aliased), ["1"])
    assert.deepEqual(await told({ a: "maybe", b: "x", c: "y" }, null, aliased), [])
    assert.deepEqual(await told({ base: { debug: "off" }, svc: { debug: "no", port: 2 } }, null, merged), ["1"])
    assert.deepEqual(await told({ base: { debug: "off" }, svc: { debug: "x", port: 2 } }, null, merged), [])
    assert.deepEqual(await told({ base: { debug: "off" }, svc: { debug: "x" }, other: "no" }, null, merged), [])
    assert.deepEqual(await told({ modes: ["fast", "no"] }, null, "modes: [no, fast]\n"), ["1"])
    const list = "list: [{name: a, up: no}, {name: b, up: fast}]\n"
    const reversed = [
      { name: "b", up: "fast" },
      { name: "a", up: "no" },
    ]
    assert.deepEqual(await told({ list: reversed }, null, list), ["1"])
    assert.deepEqual(await told({ list: [{ name: "b", up: "fast" }] }, null, list), [])
    assert.deepEqual(await told({ new: { up: "no" } }, null, "old: {up: no}\n"), ["1"])
    assert.deepEqual(await told({ new: { up: false } }, null, "old: {up: no}\n"), [])
  })

  test("counts tagged values, and those that hold a line end of YAML 1.1 alone", async () => {
    assert.deepEqual(await told({ mode: 22, port: 81 }, null, "mode: !!int 0022\nport: 80\n"), ["1"])
    for (const [written, value] of [
      ['"x\u0085y"', "x\u0085y"],
      ['"x\u2028y"', "x\u2028y"],
      ["x\u2029y", "x\u2029y"],
      ["|\n  x\u0085  y", "x\u0085  y\n"],
    ] as const) {
      const before = `a: ${written}\nport: 80\n`
      assert.deepEqual(await told({ a: value, port: 81 }, null, before), ["1"])
      assert.deepEqual(await told({ a: "b", port: 81 }, null, before), [])
    }
    assert.deepEqual(await told({ a: "x\u2028y", port: 81 }, null, 'a: "x\\Ly"\nport: 80\n'), [])
  })

  test("says nothing where the type names its version, or nothing changes", async () => {
    assert.deepEqual(await told({ ...value, plain: 2 }, "1.2"), [])
    const older = { enabled: false, umask: 18, windows: [750, 1], big: "1e3" }
    assert.deepEqual(await told({ ...older, plain: 2 }, "1.1"), [])
    assert.deepEqual(await told(value), [])
  })
})
