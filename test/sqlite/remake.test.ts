import assert from "node:assert/strict"
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { itemsOf } from "../../src/domain/catalog.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { migrationsDir } from "./migrations.ts"
import { aJournal, anImport, anOperation, aVersion } from "./records.ts"

const all = { limit: 500, cursor: null }

suite("A catalog whose file is damaged", () => {
  let dir: string
  let path: string
  const open = (): SqliteCatalog => SqliteCatalog.open({ path, migrationsDir })
  const asides = (): readonly string[] => {
    return readdirSync(dirname(path)).filter((name) => /\.(damaged|replaced)-\d+T\d+Z$/.test(name))
  }

  beforeEach(() => {
    dir = makeTemporary("remake")
    path = join(dir, "catalog.db")
  })
  afterEach(() => removeTemporary(dir))

  /** A push that is open, one that has ended, a run, a fact, a departure. */
  async function fill() {
    const catalog = open()
    const ended = anOperation({ state: "succeeded", finishedAt: "2026-01-01T00:00:00.000Z" })
    const operation = anOperation({ state: "in_doubt", fileState: "unknown" })
    const { operationId } = operation
    const file = "/opt/app/central.yml"
    const names = { stagingPath: `${file}.${operationId}.new`, oldPath: `${file}.${operationId}.old` }
    const provisional = aVersion({ provisional: true, operationId })
    const journal = aJournal({ phase: "swapping", path: file, ...names, madeWrittenId: provisional.backupId })
    await catalog.addOperation(ended, null)
    await catalog.addOperation(operation, journal, { add: [provisional] })
    await catalog.importVersions([anImport()])
    await catalog.setFact("a fact", "of the service")
    await catalog.noteDepartures([{ vmId: "vm09", type: "central", leftAt: "2026-01-02T00:00:00.000Z" }])
    const run = { kind: "backup", trigger: "manual", actor: "a", reason: null, requestId: null } as const
    const targets = [{ vmId: "vm01", type: "central" }]
    await catalog.addRun({ ...run, runId: "run-1", startedAt: "2026-01-01T00:00:00.000Z", targets })
    await catalog.noteRunItem("run-1", { vmId: "vm01", type: "central", outcome: "made", problem: null })
    catalog.close()
    return { ended, operation, journal, provisional }
  }

  /** Spoils one table's text, so that the file is taken for damaged and every row can still be read. */
  function spoilSchema(): void {
    change("DROP TRIGGER versions_removed")
  }

  function change(sql: string): void {
    const db = new Database(path)
    db.exec(sql)
    db.close()
  }

  const spoils: Readonly<Record<string, () => void>> = {
    zeroed: () => writeFileSync(path, Buffer.alloc(readFileSync(path).length)),
    "no database": () => writeFileSync(path, "x".repeat(5000)),
    "zeroed in its first pages": () => writeFileSync(path, Buffer.alloc(8192), { flag: "r+" }),
    "cut in half": () => truncateSync(path, readFileSync(path).length / 2),
    "cut within its header": () => truncateSync(path, 50),
  }
  for (const [what, spoil] of Object.entries(spoils)) {
    test(`is moved aside as it is when it is ${what}, and a new one opens`, async () => {
      await fill()
      spoil()
      const found = readFileSync(path)

      const catalog = open()

      assert.equal(catalog.remade?.aside, join(dir, asides()[0] ?? ""))
      assert.deepEqual(readFileSync(catalog.remade.aside), found)
      assert.equal((await catalog.health()).ok, true)
      assert.equal((await catalog.totals()).versions, 0)
      catalog.close()
      const names = readdirSync(dir).filter((name) => !/-(wal|shm)$|^\.reserve$/.test(name))
      assert.deepEqual(names.sort(), ["catalog.db", basename(catalog.remade.aside)])
    })
  }

  test("is moved aside where a statement of ours cannot be read any more", () => {
    open().close()
    change("ALTER TABLE migrations RENAME COLUMN sha256 TO sha257")

    const catalog = open()

    assert.notEqual(catalog.remade, null)
    assert.equal(asides().length, 1)
    catalog.close()
  })

  test("gives nothing of what was known of the notes: a pin that could not be read may stand in their copy alone", async () => {
    await fill()
    const before = open()
    await before.setFact("copied_notes", "d".repeat(64))
    await before.setFact("sought_notes", "")
    before.close()
    spoilSchema()

    const catalog = open()

    assert.deepEqual([await catalog.fact("copied_notes"), await catalog.fact("sought_notes")], [null, null])
  })

  test("gives its operations, open journals, runs, facts and departures to the new one, and no version", async () => {
    const { ended, operation, journal, provisional } = await fill()
    spoilSchema()

    const catalog = open()

    assert.deepEqual(await catalog.getOperation(ended.operationId), ended)
    assert.deepEqual(await catalog.openOperations(), [{ operation, journal }])
    assert.deepEqual(await catalog.provisionalVersions(), [provisional])
    assert.equal(await catalog.fact("a fact"), "of the service")
    assert.deepEqual(await catalog.departures(), [
      { vmId: "vm09", type: "central", leftAt: "2026-01-02T00:00:00.000Z" },
    ])
    assert.equal((await catalog.getRun("run-1", 9))?.counts.made, 1)
    assert.deepEqual(await catalog.openRuns().then(([run]) => run?.targets), [])
    assert.equal((await catalog.totals()).versions, 0)
    const { operations, open: goOn, closed, lost } = catalog.remade ?? {}
    assert.deepEqual({ operations, goOn, closed, lost }, { operations: 2, goOn: 1, closed: 0, lost: 0 })
    catalog.close()

    const again = open()
    assert.equal(again.remade, null)
    assert.equal((await again.openOperations()).length, 1)
    again.close()
  })

  test("gives what is in its log to the new one as well", async () => {
    const catalog = open()
    const operation = anOperation()
    await catalog.addOperation(operation, aJournal())
    // As a process that was killed leaves it: nothing was brought from the log into the file.
    for (const part of ["", "-wal", "-shm"]) copyFileSync(path + part, `${join(dir, "copy.db")}${part}`)
    catalog.close()
    path = join(dir, "copy.db")
    const header = readFileSync(path)
    header[20] = 1
    writeFileSync(path, header)

    const salvaged = open()

    assert.deepEqual((await salvaged.openOperations())[0]?.operation, operation)
    assert.ok(salvaged.remade)
    for (const part of ["", "-wal"]) assert.ok(existsSync(salvaged.remade.aside + part), part)
    salvaged.close()
  })

  const flips: Readonly<Record<string, string>> = {
    "a path with another letter": `journal = replace(journal, 'central.yml"', 'centrbl.yml"')`,
    "another path throughout": "journal = replace(journal, 'central', 'centrbl')",
    "another id of its version": "journal = json_set(journal, '$.madeWrittenId', 'another')",
    "a limit that is none": "journal = json_set(journal, '$.maxBytes', -1)",
    "the VM of another": "vm_id = 'vm02'",
    "the id of another operation": "operation_id = '00000000-0000-4000-8000-000000000000'",
    "no phase that is known": "phase = 'swappinh'",
  }
  for (const [what, assignment] of Object.entries(flips)) {
    test(`closes an open operation as unknown whose journal has ${what}: nothing is done by it`, async () => {
      const { operation } = await fill()
      change(`UPDATE operations SET ${assignment} WHERE phase <> 'done'`)

      const catalog = open()

      assert.match(catalog.remade?.why ?? "", /journal of operation/)
      assert.equal(catalog.remade?.closed, 1)
      assert.deepEqual(await catalog.openOperations(), [])
      const id = assignment.startsWith("operation_id") ? "00000000-0000-4000-8000-000000000000" : operation.operationId
      const closed = await catalog.getOperation(id)
      assert.deepEqual(
        [closed?.state, closed?.fileState, closed?.problem?.code, closed?.finishedAt === null],
        ["failed", "unknown", "outcome_unknown", false],
      )
      catalog.close()
    })
  }

  test("keeps an operation that has ended as it ended, whatever its journal says", async () => {
    const catalog = open()
    const operation = anOperation({ state: "succeeded", finishedAt: "2026-01-01T00:00:00.000Z" })
    await catalog.addOperation(operation, aJournal())
    catalog.close()
    change("UPDATE operations SET phase = 'donf'")

    const again = open()

    assert.equal(again.remade?.closed, 0)
    assert.deepEqual(await again.getOperation(operation.operationId), operation)
    again.close()
  })

  test("believes a journal from before there were check values, where it agrees with itself", async () => {
    const { operation } = await fill()
    change("UPDATE operations SET journal = json_remove(journal, '$.check') WHERE phase <> 'done'")

    const catalog = open()

    assert.equal(catalog.remade, null)
    assert.equal((await catalog.openOperations())[0]?.operation.operationId, operation.operationId)
    catalog.close()
  })

  test("leaves out rows that could not be what was written", async () => {
    const { ended } = await fill()
    change("UPDATE operations SET started_at = 'not a time' WHERE state = 'succeeded'")
    spoilSchema()

    const catalog = open()

    assert.equal(await catalog.getOperation(ended.operationId), null)
    assert.equal(catalog.remade?.lost, 1)
    catalog.close()
  })

  test("loses the rows of a damaged page and no others", async () => {
    const catalog = open()
    const operations = Array.from({ length: 400 }, () => anOperation({ reason: "x".repeat(300) }))
    await Promise.all(operations.map((operation) => catalog.addOperation(operation, null)))
    catalog.close()
    const file = readFileSync(path)
    const ids = operations.map(({ operationId }) => operationId)
    // The page in which a row in the middle stands: rows begin at its end.
    const page = Math.floor(file.indexOf(`${ids[200]}write`) / 4096)
    file.fill(0, page * 4096, (page + 1) * 4096)
    writeFileSync(path, file)

    const salvaged = open()

    const kept = await Promise.all(ids.map((id) => salvaged.getOperation(id)))
    const lost = kept.filter((operation) => operation === null).length
    assert.ok(lost > 0 && lost < 20, `${lost} lost`)
    assert.deepEqual([kept[0], kept[399]], [operations[0], operations[399]])
    salvaged.close()
  })

  test("keeps three that were moved aside, the newest among them", async () => {
    for (const _ of [1, 2, 3, 4, 5]) {
      open().close()
      writeFileSync(path, "x".repeat(5000))
    }
    const catalog = open()
    const names = [...asides()].sort()

    assert.equal(names.length, 3)
    assert.equal(join(dir, names.at(-1) ?? ""), catalog.remade?.aside)
    catalog.close()
  })

  test("stays where it is while the new one is not whole", async () => {
    const { operation } = await fill()
    // What a process leaves that was killed while it was at work on the new one.
    for (const part of ["", "-wal"]) writeFileSync(`${path}.new${part}`, "half")

    const catalog = open()

    assert.equal(catalog.remade, null)
    assert.equal((await catalog.openOperations())[0]?.operation.operationId, operation.operationId)
    assert.equal(existsSync(`${path}.new`), false)
    catalog.close()
  })

  test("is followed by the new one, where a process ended after moving it aside", async () => {
    const { operation } = await fill()
    spoilSchema()
    open().close()
    // One step back: the old one is aside, the new one not yet in its place.
    copyFileSync(path, `${path}.new`)
    rmSync(path)
    writeFileSync(`${path}-wal`, "of the other one")

    const catalog = open()

    assert.equal((await catalog.openOperations())[0]?.operation.operationId, operation.operationId)
    assert.equal(existsSync(`${path}.new`), false)
    catalog.close()
  })

  test("is left behind by remake although it is sound, with its operations and without its versions", async () => {
    await fill()

    const catalog = SqliteCatalog.remake({ path, migrationsDir })

    assert.match(catalog.remade?.aside ?? "", /\.replaced-/)
    assert.equal(itemsOf(await catalog.listOperations({}, all)).length, 2)
    assert.equal((await catalog.totals()).versions, 0)
    catalog.close()
  })

  test("is not made by remake where there was none", () => {
    const catalog = SqliteCatalog.remake({ path, migrationsDir })
    assert.deepEqual([catalog.remade, asides()], [null, []])
    catalog.close()
  })
})

suite("SqliteCatalog.read", () => {
  let dir: string
  let path: string
  beforeEach(() => {
    dir = makeTemporary("reading")
    path = join(dir, "catalog.db")
  })
  afterEach(() => removeTemporary(dir))

  test("reads beside the one that writes, and refuses to write", async () => {
    const writer = SqliteCatalog.open({ path, migrationsDir })
    const reader = SqliteCatalog.read({ path, migrationsDir })
    const operation = anOperation()
    await writer.addOperation(operation, null)

    assert.deepEqual(await reader.getOperation(operation.operationId), operation)
    await assert.rejects(reader.addOperation(anOperation(), null))

    reader.close()
    writer.close()
  })

  test("makes nothing where nothing stands", () => {
    assert.throws(() => SqliteCatalog.read({ path, migrationsDir }), { name: "StartError", message: /cannot be read/ })
    assert.deepEqual(readdirSync(dir), [])
  })

  for (const [what, bytes, message] of [
    ["a file that is no database", "x".repeat(5000), /cannot be read/],
    ["an empty one", "", /another program/],
  ] as const) {
    test(`refuses ${what} and leaves it as it is`, () => {
      writeFileSync(path, bytes)
      assert.throws(() => SqliteCatalog.read({ path, migrationsDir }), { name: "StartError", message })
      assert.equal(readFileSync(path, "utf8"), bytes)
    })
  }
})
