import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { Note, Notes } from "../../src/domain/notes.ts"

interface NotesUnderTest {
  readonly notes: Notes
  close(): Promise<void>
}

export const at = "2026-01-02T03:04:05.678Z"
export const pin: Note = { at, backupId: "019b7c1e-2f4e-7000-8000-000000000001", pinned: true }
export const left: Note = { at, vmId: "vm01", type: "central", left: true }

/** What every implementation of Notes keeps. */
export function notesContract(name: string, make: () => Promise<NotesUnderTest>): void {
  suite(`${name} as Notes`, () => {
    let given: NotesUnderTest
    let notes: Notes
    beforeEach(async () => {
      given = await make()
      notes = given.notes
    })
    afterEach(() => given.close())

    test("has nothing to read before anything was noted", async () => {
      assert.deepEqual(await notes.read(), [])
    })

    test("gives back what was noted, oldest first, member by member", async () => {
      const noted: Note[] = [
        pin,
        { at, backupId: "backup_vm_01_central_20250102_030405.enc", note: null },
        { at, backupId: "b", pinned: false, note: 'line\n"quoted" \u2028 𝕏' },
        left,
        { ...left, left: false },
      ]
      for (const note of noted) await notes.append([note])
      assert.deepEqual(await notes.read(), noted)
    })

    test("takes many notes at once, and none", async () => {
      const many = Array.from({ length: 500 }, (_, index) => ({
        ...pin,
        backupId: `b${index}`,
        note: "x".repeat(1000),
      }))
      await notes.append(many)
      await notes.append([])
      assert.deepEqual(await notes.read(), many)
    })

    test("keeps apart what is noted at the same time", async () => {
      const ids = Array.from({ length: 30 }, (_, index) => `b${index}`)
      await Promise.all(ids.map((backupId) => notes.append([{ at, backupId, pinned: true }])))
      const found = (await notes.read()).map((note) => ("backupId" in note ? note.backupId : ""))
      assert.deepEqual(found, ids)
    })

    test("replaces all by others, and goes on from there", async () => {
      await notes.append([pin, left])
      await notes.replace([left])
      await notes.append([pin])
      assert.deepEqual(await notes.read(), [left, pin])
      await notes.replace([])
      assert.deepEqual(await notes.read(), [])
    })
  })
}
