#!/usr/bin/env node
// Plain JavaScript, so that an old Node can read it and say what is wrong: it cannot load TypeScript at all,
// and the SQLite binding crashes it without a word. 22.18 and 23.6 are the first that strip types by themselves.
import module from "node:module"
import { fileURLToPath } from "node:url"
import v8 from "node:v8"

const [major, minor] = process.versions.node.split(".").map(Number)
const stripsTypes = major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18)
/** Both halves, in bytes. */
const youngGenerationWanted = 2 * 4 * 1024 * 1024

if (stripsTypes) {
  growYoungGeneration()
  // What was stripped and compiled is kept for the next start. Where the checkout cannot be written, nothing is kept.
  module.enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/config-manager", import.meta.url)))
  void import("../src/main.ts").then(({ main }) => main(process.argv.slice(2)))
} else {
  process.stderr.write(
    `config-manager needs Node 22.18 or newer, and this is Node ${process.versions.node}: ` +
      "start it by `npm start -- --config FILE` or `node_modules/.bin/node bin/config-manager.js`, which use the Node that `npm ci` installed.\n",
  )
  process.exitCode = 78
}

/**
 * V8's young generation: from 1 to 4 MiB a half, and never again. In 1 MiB, what the requests under way hold is copied about all
 * the time. What it would grow to by itself, for the garbage of the start already, costs 20 MiB for good and no longer fits the
 * caches of a processor. `node --min-semi-space-size=4` would do the same, wherever the process is started.
 */
function growYoungGeneration() {
  v8.setFlagsFromString("--semi-space-growth-factor=4")
  // It grows at a collection that enough survives; a bound, for a V8 that does otherwise.
  const survivors = []
  while (youngGenerationBytes() < youngGenerationWanted && survivors.length < 1000) survivors.push(new Array(1000))
  v8.setFlagsFromString("--semi-space-growth-factor=1")
}

function youngGenerationBytes() {
  return v8.getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space")?.space_size ?? 0
}
