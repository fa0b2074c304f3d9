import { writeFile } from "node:fs/promises"
import { benchCatalog } from "./catalog.ts"
import { benchHttp } from "./http.ts"
import { benchKeeping } from "./keeping.ts"
import type { Part } from "./measure.ts"
import { benchRestart } from "./restart.ts"
import { benchSsh } from "./ssh.ts"

/**
 * `npm run bench [-- PART...]`: figures are ratios of one run, so that they hold on other machines too. Parts: `ssh` (our HTTP API
 * beside bare ssh2 and OpenSSH), `http` and `catalog` (our routes beside a route that says hello), `keeping` (10 000 blobs),
 * `restart` (the same, with 100 unfinished operations).
 */
const parts: Readonly<Record<string, () => Promise<Part>>> = {
  ssh: benchSsh,
  http: benchHttp,
  catalog: benchCatalog,
  keeping: benchKeeping,
  restart: benchRestart,
}

// Ended like this, it takes its servers and directories with it.
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => process.exit(1))

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !Object.hasOwn(parts, name))
if (unknown.length > 0) {
  process.stderr.write(`No part ${unknown.join(", ")}; there are ${Object.keys(parts).join(", ")}.\n`)
  process.exitCode = 64
} else {
  const results: Record<string, unknown> = {}
  for (const [name, run] of Object.entries(parts)) {
    if (asked.length > 0 && !asked.includes(name)) continue
    const { figures, table } = await run()
    results[name] = figures
    process.stdout.write(`${table}\n\n`)
  }
  await writeFile("bench-result.json", `${JSON.stringify(results, null, 2)}\n`)
}
