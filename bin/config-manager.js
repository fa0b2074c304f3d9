#!/usr/bin/env node
// Plain JavaScript, so that an old Node can read it and say what is wrong: it cannot load TypeScript at all,
// and the SQLite binding crashes it without a word. 22.18 and 23.6 are the first that strip types by themselves.
import module from "node:module"
import { fileURLToPath } from "node:url"
import v8 from "node:v8"

const [major, minor] = process.versions.node.split(".").map(Number)
const stripsTypes = major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18)

if (stripsTypes) {
  // The young generation does not grow for the garbage of the start, which would cost 20 MiB for good.
  v8.setFlagsFromString("--semi-space-growth-factor=1")
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
