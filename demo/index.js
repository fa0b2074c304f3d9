// Plain JavaScript, for the same reason as bin/config-manager.js: an old Node cannot load TypeScript, and would not say so in words.
const [major, minor] = process.versions.node.split(".").map(Number)
const stripsTypes = major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18)

if (stripsTypes) {
  void import("./main.ts")
} else {
  process.stderr.write(
    `The demo needs Node 22.18 or newer, and this is Node ${process.versions.node}: ` +
      "start it by `npm run demo`, which uses the Node that `npm ci` installed.\n",
  )
  process.exitCode = 78
}
