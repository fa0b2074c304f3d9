/**
 * The shipped service, composed with a failpoint that ends the process: `serve --config FILE --kill-at NAME [--passing N]`
 * kills it with SIGKILL at the N-th passing (from 1) of that place. Without `--kill-at` nothing is killed.
 * `--kill-file FILE`: the same for a process that runs: `NAME N` is read from that file at each passing; no file, no kill.
 * `--late-looks 200,1000`: when LateLooks looks, in ms.
 */
import { existsSync, readFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { type ComposeOptions, compose } from "../../src/compose.ts"
import { type Failpoint, failpointNames } from "../../src/domain/failpoint.ts"
import { openLog } from "../../src/log.ts"
import { loadSettings } from "../../src/settings.ts"

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    config: { type: "string", default: "" },
    "kill-at": { type: "string" },
    passing: { type: "string", default: "1" },
    "kill-file": { type: "string" },
    "late-looks": { type: "string" },
  },
})

function killAt(name: string | undefined, passing: number): Failpoint {
  if (name !== undefined && !failpointNames.some((known) => known === name)) throw new Error(`no failpoint "${name}"`)
  let passed = 0
  return (point) => {
    if (point !== name) return
    passed += 1
    // The signal takes effect before the call returns: nothing of the process runs on.
    if (passed === passing) process.kill(process.pid, "SIGKILL")
  }
}

function killAsTold(file: string): Failpoint {
  let passed = 0
  return (point) => {
    if (!existsSync(file)) return
    const [name, passing] = readFileSync(file, "utf8").split(" ")
    if (point !== name) return
    passed += 1
    if (passed === Number(passing)) process.kill(process.pid, "SIGKILL")
  }
}

const settings = await loadSettings(values.config, { home: process.env.HOME ?? "/", cwd: process.cwd() })
const options: ComposeOptions = {
  secrets: { backupKeyPath: null, backupPassphrase: null, sshPassphrase: null, agentSocket: null },
  logger: await openLog("info"),
  version: "0.0.0-faults",
  newKey: false,
  failpoint:
    values["kill-file"] === undefined
      ? killAt(values["kill-at"], Number(values.passing))
      : killAsTold(values["kill-file"]),
  lateLooksMs: values["late-looks"]?.split(",").map(Number),
}
const service = await compose(settings, options)
process.once("SIGTERM", () => void service.stop())
const { host, port } = settings.server
await service.app.listen({ host, port, listenTextResolver: (address) => `listening on ${address}` })
