/**
 * Preloaded by `--import`: ends the process with SIGKILL just before its n-th call that changes a file, n (from 1) being
 * TEST_KILL_AT_CALL. How many there were stands in the file TEST_CALLS_FILE at the end of a process that was not killed.
 */
import { writeFileSync } from "node:fs"
import promises from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"

const killAt = Number(process.env.TEST_KILL_AT_CALL ?? 0)
const callsFile = process.env.TEST_CALLS_FILE
let calls = 0

/** The signal takes effect before this returns: nothing of the process runs on. */
function passing(): void {
  calls += 1
  if (calls === killAt) process.kill(process.pid, "SIGKILL")
}

function counted<A extends readonly unknown[], R>(call: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    passing()
    return call(...args)
  }
}

const { open, mkdir, rename, unlink, link } = promises
Object.assign(promises, {
  mkdir: counted(mkdir),
  rename: counted(rename),
  unlink: counted(unlink),
  link: counted(link),
  open: async (...args: Parameters<typeof open>) => {
    const handle = await open(...args)
    return Object.assign(handle, {
      write: counted(handle.write.bind(handle)),
      sync: counted(handle.sync.bind(handle)),
    })
  },
})
syncBuiltinESMExports()
process.on("exit", () => {
  if (callsFile) writeFileSync(callsFile, String(calls))
})
