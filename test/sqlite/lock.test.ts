import assert from "node:assert/strict"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { StartError } from "../../src/domain/start-error.ts"
import { acquireLock, requireLockable } from "../../src/sqlite/lock.ts"

/** A process that takes the lock, says "locked" and stays until it is killed: also where nobody keeps what it was given. */
const holder = `
  import { acquireLock, requireLockable } from ${JSON.stringify(new URL("../../src/sqlite/lock.ts", import.meta.url).href)}
  acquireLock(process.argv[1])
  global.gc()
  process.stdout.write("locked")
  setInterval(() => {}, 60_000)
`

suite("acquireLock", () => {
  let root: string
  let dir: string
  let child: ChildProcess | undefined
  const lockedByAnother = async () => {
    child = spawn(process.execPath, ["--expose-gc", "--input-type=module", "--eval", holder, dir], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    assert.ok(child.stdout)
    const [said] = await once(child.stdout, "data")
    assert.equal(String(said), "locked")
    return child
  }

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "lock-"))
    dir = join(root, "state")
  })
  afterEach(async () => {
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL")
      await once(child, "exit")
    }
    child = undefined
    rmSync(root, { recursive: true })
  })

  test("refuses a second process within a second, and names the directory", async () => {
    await lockedByAnother()
    const startedAt = performance.now()

    assert.throws(
      () => acquireLock(dir),
      (error: unknown) => {
        assert.ok(error instanceof StartError)
        assert.ok(error.message.includes(dir))
        return true
      },
    )

    assert.ok(performance.now() - startedAt < 1000)
  })

  test("is free again once the process that had it was killed", async () => {
    const other = await lockedByAnother()
    other.kill("SIGKILL")
    await once(other, "exit")

    acquireLock(dir).release()
  })

  test("refuses a second lock in the same process, and gives it after the release", () => {
    const lock = acquireLock(dir)
    assert.throws(() => acquireLock(dir), StartError)

    lock.release()
    acquireLock(dir).release()
  })

  test("keeps nothing beside its file: a full disk has no room for a journal", () => {
    const lock = acquireLock(dir)
    assert.deepEqual(readdirSync(dir), ["lock.db"])
    lock.release()
  })

  test("can be released twice", () => {
    const lock = acquireLock(dir)
    lock.release()
    lock.release()
  })

  test("makes the directory for its user only", () => {
    acquireLock(dir).release()

    assert.equal(statSync(dir).mode & 0o777, 0o700)
  })

  test("is looked at without a trace: a directory that is there, or could be made", () => {
    requireLockable(dir, "state_dir")
    requireLockable(join(dir, "deeper"), "state_dir")
    assert.equal(existsSync(dir), false)
    acquireLock(dir).release()
    requireLockable(dir, "state_dir")
  })

  test("is refused by a look as by a lock, and a directory that is missing is told to be", () => {
    writeFileSync(dir, "a file")
    for (const lock of [acquireLock, requireLockable]) {
      assert.throws(() => lock(dir, "state_dir"), /state_dir\) cannot be locked/)
      const missing = /deeper \(state_dir\) does not exist and cannot be made \(ENOTDIR\): make it, for the user/
      assert.throws(() => lock(join(dir, "deeper"), "state_dir"), missing)
    }
  })

  test("refuses a place where no directory can be", () => {
    writeFileSync(dir, "a file")

    assert.throws(() => acquireLock(dir), { name: "StartError", message: /writable directory/ })
  })

  test("refuses a place where the kernel makes nothing, instead of trying for ever", () => {
    assert.throws(() => acquireLock("/proc/nothing/here", "state_dir"), /state_dir.*Choose a writable directory/)
  })

  test("refuses a lock file that is no database", () => {
    acquireLock(dir).release()
    writeFileSync(join(dir, "lock.db"), "x".repeat(5000))

    assert.throws(() => acquireLock(dir), { name: "StartError", message: /cannot be locked/ })
  })
})
