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

  test("names no way in a journal of an earlier release, which is believed as well", () => {
    const earlier = { ...journal, address: { host: "192.0.2.1", port: 22 } }
    const text = journalText(operation, earlier)
    assert.ok(isBelieved(operation, journal.phase, text))
    assert.deepEqual(readJournal(journal.phase, text).address, earlier.address)
  })

  test("has no jump host where there is none", () => {
    const direct = { ...journal, address: { host: "192.0.2.1", port: 22, user: "x", proxyJump: null } }
    assert.ok(isBelieved(operation, journal.phase, journalText(operation, direct)))
  })

  const place = { host: "192.0.2.1", port: 22 }
  for (const address of [
    null,
    "192.0.2.1",
    {},
    { host: "192.0.2.1", port: "22" },
    { host: 1, port: 22 },
    { ...place, user: null },
    { ...place, user: "x", proxyJump: "192.0.2.2" },
    { ...place, user: "x", proxyJump: { host: "192.0.2.2", port: 22 } },
    { ...place, user: "x", proxyJump: { user: "j", host: "192.0.2.2", port: "22" } },
  ]) {
    test(`is not believed as ${JSON.stringify(address)}`, () => {
      const { check: _, ...written } = JSON.parse(journalText(operation, journal))
      assert.equal(isBelieved(operation, journal.phase, JSON.stringify({ ...written, address })), false)
    })
  }
})
