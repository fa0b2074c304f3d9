import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { readTrace, type TracedCall } from "./strace.ts"

const child = join(import.meta.dirname, "write-order-child.ts")
const traced = "openat,write,pwrite64,fsync,fdatasync,rename,link,linkat,unlink"

/** What a model assumes the kernel is asked for, the kernel is asked for: SIGKILL does not test it, the page cache survives. */
faultRun({ id: "R3", name: "the order of writes and syncs, as the kernel sees it", ci: 1, nightly: 5 }, async (run) => {
  for (let round = 0; round < run.size; round++) {
    const calls = readTrace(traceOf(child))
    auditBlobs(run, calls)
    // Each step that recovery relies on is durable before the next one is taken.
    for (const [from, to] of [
      ["begin", "prepared"],
      ["blobs.kept", "kept"],
      ["kept", "looked"],
      ["old_removed", "done"],
    ] as const) {
      auditCatalog(run, calls, from, to)
      run.count("runs")
    }
  }
})

function traceOf(script: string): string {
  const dir = makeTemporary("strace")
  const output = join(dir, "trace")
  try {
    execFileSync("strace", ["-f", "-y", "-s", "200", "-e", `trace=${traced}`, "-o", output, process.execPath, script])
    return readFileSync(output, "utf8")
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT"
    throw isMissing ? new Error('strace is missing: run "npm run setup".', { cause }) : cause
  } finally {
    void removeTemporary(dir)
  }
}

/** write < fsync < link < fsync of the directory < what comes next. */
function auditBlobs(run: FaultRun, calls: readonly TracedCall[]): void {
  const links = calls.filter(({ name, paths }) => name.startsWith("link") && paths.at(-1)?.endsWith(".cmb"))
  assert.equal(links.length, 2, "a push over a file that is no version yet makes two blobs")
  const kept = markOf(calls, "blobs.kept")
  for (const link of links) {
    run.count("runs")
    const [temp = "", path = ""] = link.paths.slice(-2)
    const writes = on(calls, temp, "write", "pwrite64")
    const syncs = on(calls, temp, "fsync", "fdatasync")
    const lastWrite = Math.max(...writes.map(({ end }) => end))
    assert.ok(writes.length > 0, "the blob was written")
    if (!syncs.some(({ begin, end }) => begin > lastWrite && end < link.begin))
      run.found("lost", "a blob got its name before its bytes were synced")
    const names = on(calls, dirname(path), "fsync", "fdatasync")
    if (!names.some(({ begin, end }) => begin > link.end && end < kept.begin))
      run.found("lost", "a blob counted as kept before its name was synced")
  }
}

function auditCatalog(run: FaultRun, calls: readonly TracedCall[], from: string, to: string): void {
  const [begin, end] = [markOf(calls, from).end, markOf(calls, to).begin]
  const isWithin = (call: TracedCall): boolean => call.begin > begin && call.end < end
  const log = calls.find(({ paths }) => paths[0]?.endsWith("/catalog.db-wal"))?.paths[0] ?? ""
  const writes = on(calls, log, "write", "pwrite64").filter(isWithin)
  const syncs = on(calls, log, "fsync", "fdatasync").filter(isWithin)
  const lastWrite = Math.max(...writes.map((write) => write.end))
  if (writes.length === 0) run.found("wrong outcomes", `nothing was written to the catalog between ${from} and ${to}`)
  else if (!syncs.some((sync) => sync.begin > lastWrite))
    run.found("lost", `"${to}" was passed before the catalog was synced`)
}

function on(calls: readonly TracedCall[], path: string, ...names: readonly string[]): readonly TracedCall[] {
  return calls.filter((call) => names.includes(call.name) && call.paths[0] === path)
}

function markOf(calls: readonly TracedCall[], name: string): TracedCall {
  const found = calls.findLast((call) => call.name === "write" && call.text.includes(`"mark ${name}\\n"`))
  assert.ok(found, `the push did not pass ${name}`)
  return found
}
