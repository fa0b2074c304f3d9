import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { isBelieved, journalText, readJournal } from "../../src/sqlite/journal.ts"
import { aJournal, anOperation } from "./records.ts"

suite("The address in a journal", () => {
  const operation = anOperation()
  const journal = aJournal()

  test("comes back as it was written", () => {
    const text = journalText(operation, journal)
    assert.ok(isBelieved(operation, journal.phase, text))
    assert.deepEqual(readJournal(journal.phase, text), journal)
  })

  test("is in no journal of an earlier release, which is believed as well", () => {
    const { address: _, ...earlier } = journal
    const text = journalText(operation, earlier)
    assert.ok(isBelieved(operation, journal.phase, text))
    assert.equal(readJournal(journal.phase, text).address, undefined)
  })

  for (const address of [null, "192.0.2.1", {}, { host: "192.0.2.1", port: "22" }, { host: 1, port: 22 }]) {
    test(`is not believed as ${JSON.stringify(address)}`, () => {
      const { check: _, ...written } = JSON.parse(journalText(operation, journal))
      assert.equal(isBelieved(operation, journal.phase, JSON.stringify({ ...written, address })), false)
    })
  }
})
