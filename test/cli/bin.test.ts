import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { suite, test } from "node:test"
import { fileURLToPath } from "node:url"

const bin = fileURLToPath(new URL("../../bin/config-manager.js", import.meta.url))

/** Starts the program under a Node that believes to be `version`, with src/main.ts replaced by one that prints its arguments. */
function startAs(version: string) {
  const main = "data:text/javascript,export function main(argv) { process.stdout.write(JSON.stringify(argv)) }"
  const preload = `import { registerHooks } from "node:module"
Object.defineProperty(process, "versions", { value: { ...process.versions, node: ${JSON.stringify(version)} } })
registerHooks({ resolve: (name, context, next) => name.endsWith("/src/main.ts") ? { url: ${JSON.stringify(main)}, shortCircuit: true } : next(name, context) })`
  const args = ["--import", `data:text/javascript,${encodeURIComponent(preload)}`, bin, "serve", "--config", "a b.yml"]
  return spawnSync(process.execPath, args, { encoding: "utf8", timeout: 10_000 })
}

suite("bin/config-manager.js", () => {
  for (const version of ["12.22.12", "18.20.8", "20.20.2", "22.17.1", "23.5.0"]) {
    test(`says in words what to do under Node ${version}, exit 78`, () => {
      const { status, stdout, stderr } = startAs(version)
      assert.equal(status, 78)
      assert.equal(stdout, "")
      assert.equal(
        stderr,
        `config-manager needs Node 22.18 or newer, and this is Node ${version}: start it by \`npm start -- --config FILE\` or ` +
          "`node_modules/.bin/node bin/config-manager.js`, which use the Node that `npm ci` installed.\n",
      )
    })
  }

  for (const version of ["22.18.0", "23.6.0", "24.0.0", "30.1.2"]) {
    test(`hands its arguments on under Node ${version}`, () => {
      const { status, stdout, stderr } = startAs(version)
      assert.deepEqual([status, stdout, stderr], [0, '["serve","--config","a b.yml"]', ""])
    })
  }
})

suite("A command whose reader has gone", () => {
  for (const [what, args, code] of [
    ["that was understood", ["--help"], 0],
    ["that was not", ["bakcup"], 64],
    ["that is refused", ["serve", "--config", "/dev/null"], 78],
  ] as const) {
    test(`ends as one ${what}`, async () => {
      const child = spawn(process.execPath, [bin, ...args], { timeout: 10_000 })
      child.stdout.destroy()
      // What is said about an error that nobody caught would come here.
      let complaint = ""
      if (code === 0) child.stderr.on("data", (text: Buffer) => (complaint += text))
      else child.stderr.destroy()
      assert.deepEqual([await once(child, "close"), complaint], [[code, null], ""])
    })
  }
})
