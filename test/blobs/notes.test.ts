import assert from "node:assert/strict"
import { constants } from "node:fs"
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import { DiskNotes } from "../../src/blobs/notes.ts"
import type { Note } from "../../src/domain/notes.ts"
import { at, left, notesContract, pin } from "../contracts/notes.ts"
import { MemoryNotes } from "../fakes/memory-notes.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { FaultyFs } from "./faulty-fs.ts"

notesContract("MemoryNotes", async () => ({ notes: new MemoryNotes(), close: async () => undefined }))
notesContract("DiskNotes", async () => {
  const location = makeTemporary("notes")
  return { notes: new DiskNotes(location), close: () => removeTemporary(location) }
})

const other: Note = { at, backupId: "b", note: "text" }

suite("notes.jsonl", () => {
  let location: string
  let path: string
  let elsewhere: string
  beforeEach(() => {
    location = makeTemporary("notes")
    path = join(location, "notes.jsonl")
    elsewhere = join(location, "elsewhere")
  })
  afterEach(() => removeTemporary(location))

  test("is of this user alone, one line of JSON each", async () => {
    await new DiskNotes(location).append([pin, left])
    assert.equal((await stat(path)).mode & 0o7777, 0o600)
    assert.equal(await readFile(path, "utf8"), `${JSON.stringify(pin)}\n${JSON.stringify(left)}\n`)
  })

  test("is neither read nor written in another directory that stands at the location", async () => {
    const notes = new DiskNotes(location)
    await notes.append([pin])
    await rename(location, `${location}-away`)
    await mkdir(location)
    const refused = { code: "backup_storage_unavailable", message: /another directory/ }

    await assert.rejects(notes.append([left]), refused)
    await assert.rejects(notes.read(), refused)
    assert.deepEqual(await readdir(location), [])

    await rm(location, { recursive: true })
    await rename(`${location}-away`, location)
    assert.deepEqual(await notes.read(), [pin])
  })

  test("is read and gone on with by the next process", async () => {
    await new DiskNotes(location).append([pin])
    await new DiskNotes(location).append([left])
    assert.deepEqual(await new DiskNotes(location).read(), [pin, left])
  })

  test("leaves lines that are no notes where they are, and out of what is read", async () => {
    const foreign = [
      "",
      "null",
      "7",
      "{",
      "[]",
      "{}",
      '"text"',
      JSON.stringify({ ...pin, backupId: "../x" }),
      JSON.stringify({ ...pin, pinned: 1 }),
      JSON.stringify({ ...pin, note: 1 }),
      JSON.stringify({ ...pin, note: "x".repeat(1001) }),
      JSON.stringify({ ...pin, at: "2026-01-02" }),
      JSON.stringify({ ...pin, at: "2026-99-02T03:04:05.678Z" }),
      JSON.stringify({ ...left, left: "yes" }),
      JSON.stringify({ ...left, type: "a/b" }),
      `${" ".repeat(20_000)}${JSON.stringify(pin)}`,
      "\u0000\u00ff",
    ]
    await writeFile(path, [JSON.stringify(pin), ...foreign, JSON.stringify(left), ""].join("\n"))
    const notes = new DiskNotes(location)
    assert.deepEqual(await notes.read(), [pin, left])
    await notes.append([other])
    assert.deepEqual(await notes.read(), [pin, left, other])
    assert.ok((await readFile(path, "utf8")).includes("../x"))
  })

  test("cut off at any byte keeps the lines before, and swallows nothing that comes after", async () => {
    const first = `${JSON.stringify(pin)}\n`
    const second = JSON.stringify(left)
    for (let kept = 0; kept <= second.length; kept += 1) {
      await writeFile(path, first + second.slice(0, kept))
      const whole = kept === second.length ? [pin, left] : [pin]
      const notes = new DiskNotes(location)
      assert.deepEqual(await notes.read(), whole, `${kept} bytes`)
      await notes.append([other])
      assert.deepEqual(await notes.read(), [...whole, other], `${kept} bytes`)
      assert.deepEqual(await new DiskNotes(location).read(), [...whole, other], `${kept} bytes`)
    }
  })

  for (const [what, make] of [
    ["a symbolic link", () => symlink(elsewhere, path)],
    ["a directory", () => mkdir(path)],
  ] as const) {
    test(`that is ${what} is neither read nor written`, async () => {
      await writeFile(elsewhere, "theirs")
      await make()
      const notes = new DiskNotes(location)
      await assert.rejects(notes.read(), { code: "backup_storage_unavailable" })
      await assert.rejects(notes.append([pin]), { code: "backup_storage_unavailable" })
      assert.equal(await readFile(elsewhere, "utf8"), "theirs")
    })
  }

  test("is written on where a call takes some bytes only", async () => {
    const notes = new DiskNotes(location, new FaultyFs({ mostTaken: 7 }))
    await notes.append([pin, left])
    assert.deepEqual(await notes.read(), [pin, left])
    await notes.replace([left, pin])
    assert.deepEqual(await notes.read(), [left, pin])
  })

  test("is written by one call after the other, however long the first one takes", async () => {
    const { promise: asked, resolve: goOn } = Promise.withResolvers<void>()
    let first = true
    const open: FsPort["open"] = async (name, flags) => {
      if (first) await asked
      first = false
      return nodeFs.open(name, flags)
    }
    const notes = new DiskNotes(location, { ...nodeFs, open })
    const appended = [notes.append([pin]), notes.append([left])]
    const found = notes.read()
    goOn()
    await Promise.all(appended)
    assert.deepEqual(await found, [pin, left])
  })

  test("is synced before a note counts, and its name with the first one", async () => {
    const steps: string[] = []
    const notes = new DiskNotes(location, watching(steps))
    await notes.append([pin])
    assert.deepEqual(steps, ["write", "sync notes.jsonl", "sync ."])
    await notes.append([left])
    assert.deepEqual(steps.slice(3), ["write", "sync notes.jsonl"])
  })

  /** Notes what is written and synced, in order. */
  function watching(steps: string[]): FsPort {
    return {
      ...nodeFs,
      open: async (name, flags) => {
        const file = await nodeFs.open(name, flags)
        const shown = (flags & constants.O_DIRECTORY) === 0 ? name.slice(location.length + 1) : "."
        return {
          ...file,
          write: (bytes, position) => {
            steps.push("write")
            return file.write(bytes, position)
          },
          sync: () => {
            steps.push(`sync ${shown}`)
            return file.sync()
          },
        }
      },
    }
  }
})

suite("notes.jsonl, when any one call to the file system fails", () => {
  for (const [code, fault] of [
    ["ENOSPC", "storage_full"],
    ["EIO", "backup_storage_unavailable"],
    ["EROFS", "backup_storage_unavailable"],
    ["EMFILE", "backup_storage_unavailable"],
  ] as const) {
    for (const before of [[], [left]] as const) {
      test(`an append after ${before.length} notes changes nothing and tells ${fault} (${code})`, async () => {
        const failed = await failEach(code, fault, before, (notes) => notes.append([pin, other]))
        assert.ok(failed >= 4, `only ${failed} calls`)
      })
    }

    test(`a replacement leaves the old ones or the new ones and tells ${fault} (${code})`, async () => {
      const failed = await failEach(code, fault, [left], (notes) => notes.replace([pin]), [[pin]])
      assert.ok(failed >= 4, `only ${failed} calls`)
    })
  }

  /** Fails the 1st, 2nd, ... call until one gets by. @returns how many failed */
  async function failEach(
    code: string,
    fault: string,
    before: readonly Note[],
    work: (notes: DiskNotes) => Promise<void>,
    orElse: readonly (readonly Note[])[] = [],
  ): Promise<number> {
    for (let failAt = 1; ; failAt += 1) {
      const location = makeTemporary("notes")
      try {
        if (before.length > 0) await new DiskNotes(location).append(before)
        const fs = new FaultyFs({ failAt, code })
        const notes = new DiskNotes(location, fs)
        const error = await work(notes).then(
          () => null,
          (reason: unknown) => reason,
        )
        if (error === null) {
          assert.ok(fs.calls < failAt, `call ${failAt} failed and nobody noticed`)
          return failAt - 1
        }
        assert.equal((error as { code?: string }).code, fault, `call ${failAt}: ${String(error)}`)
        const found = await notes.read()
        const allowed = [before, ...orElse].some((each) => JSON.stringify(each) === JSON.stringify(found))
        assert.ok(allowed, `call ${failAt}: ${JSON.stringify(found)}`)
        assert.deepEqual(
          await new DiskNotes(location).read(),
          found,
          `call ${failAt}: another process reads other notes`,
        )
        const names = await readdir(location)
        assert.deepEqual(
          names.filter((name) => name !== "notes.jsonl"),
          [],
        )
        await notes.append([other])
        assert.deepEqual(await notes.read(), [...found, other], `call ${failAt}`)
      } finally {
        await removeTemporary(location)
      }
    }
  }

  test("what a failed append left, and could not be taken away, is not read and goes before the next", async () => {
    const location = makeTemporary("notes")
    try {
      await new DiskNotes(location).append([left])
      let failing = false
      const fs: FsPort = {
        ...nodeFs,
        rename: () => Promise.reject(Object.assign(new Error("told to fail"), { code: "EIO" })),
        open: async (name, flags) => {
          const file = await nodeFs.open(name, flags)
          if (!failing) return file
          return { ...file, sync: () => Promise.reject(Object.assign(new Error("told to fail"), { code: "EIO" })) }
        },
      }
      const notes = new DiskNotes(location, fs)
      failing = true
      await assert.rejects(notes.append([pin]), { code: "backup_storage_unavailable" })
      assert.deepEqual(await notes.read(), [left])
      failing = false
      await assert.rejects(notes.append([other]), { code: "backup_storage_unavailable" })
      fs.rename = nodeFs.rename
      await notes.append([other])
      assert.deepEqual(await notes.read(), [left, other])
      assert.deepEqual(await new DiskNotes(location).read(), [left, other])
    } finally {
      await removeTemporary(location)
    }
  })

  test("a file that grew beside us goes on from its end", async () => {
    const location = makeTemporary("notes")
    try {
      const notes = new DiskNotes(location)
      await notes.append([left])
      await appendFile(join(location, "notes.jsonl"), `${JSON.stringify(other)}\n`)
      await notes.append([pin])
      assert.deepEqual(await notes.read(), [left, other, pin])
    } finally {
      await removeTemporary(location)
    }
  })
})
