import assert from "node:assert/strict"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir } from "node:fs/promises"
import { connect } from "node:net"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { suite, test } from "node:test"
import { type Home, makeHome, type ServicePlan } from "../support/service.ts"
import { whenAppears } from "./world.ts"

const bin = join(import.meta.dirname, "..", "..", "bin", "config-manager.js")

/** The key comes from a passphrase: that takes its time, so that a signal sent at the lock is sure to come before the address. */
const plan: ServicePlan = {
  settings: {
    vms: { vm01: { ip: "127.0.0.1", ssh_user: "nobody" } },
    config_management: {
      config_paths: { central: { default: "/x.yml" } },
      config_types: { central: { schema: "none" } },
      encryption_key_path: "",
    },
  },
  environment: { TH_TIMMY_CONFIG_BACKUP_PASSPHRASE: "a passphrase of the tests" },
}

interface Launched {
  readonly child: ChildProcess
  /** What was logged so far; the next line by `nextLine`. */
  readonly messages: readonly string[]
  logged(pattern: RegExp): Promise<void>
  /** Exit code, and the signal that ended it, if one did. */
  readonly ended: Promise<readonly [number | null, NodeJS.Signals | null]>
}

function launch({ dir, settingsFile }: Home): Launched {
  const env = { PATH: process.env.PATH ?? "", HOME: dir, ...plan.environment }
  const args = [bin, "serve", "--config", settingsFile]
  const child = spawn(process.execPath, args, { env, cwd: dir, stdio: ["ignore", "pipe", "inherit"] })
  const messages: string[] = []
  const lines = createInterface({ input: child.stdout })
  lines.on("line", (line) => messages.push(String((JSON.parse(line) as { readonly msg?: unknown }).msg)))
  const ended = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>
  const logged = async (pattern: RegExp): Promise<void> => {
    while (!messages.some((message) => pattern.test(message))) {
      const [how] = await Promise.race([once(lines, "line"), once(lines, "close").then(() => [null])])
      assert.notEqual(how, null, `ended before it logged ${pattern}: ${messages.join("; ")}`)
    }
  }
  return { child, messages, logged, ended }
}

/** Launches the service and sends `signals` as soon as it holds the lock of its state. */
async function launchAndSignal(home: Home, ...signals: readonly NodeJS.Signals[]): Promise<Launched> {
  await mkdir(home.state, { mode: 0o700 })
  let launched: Launched | undefined
  const sent = whenAppears(home.state, "lock.db", () => {
    for (const signal of signals) launched?.child.kill(signal)
  })
  launched = launch(home)
  await sent
  return launched
}

suite("A signal that comes before the service listens", { concurrency: 2 }, () => {
  for (const signals of [["SIGTERM"], ["SIGINT"], ["SIGINT", "SIGINT"], ["SIGHUP", "SIGTERM"]] as const) {
    test(`ends it in order, with exit code 0 and no lock held: ${signals.join(", ")}`, async (context) => {
      const home = await makeHome(plan)
      context.after(() => home.remove())
      const { child, ended, messages } = await launchAndSignal(home, ...signals)
      context.after(() => child.kill("SIGKILL"))
      assert.deepEqual(await ended, [0, null], messages.join("; "))
      assert.equal(messages.at(-1), "stopped")
      assert.ok(!messages.some((message) => message.startsWith("listening")))
      assert.equal(await (await home.start()).stop(), 0)
    })
  }

  test("does not end it where it is SIGHUP, which is done once it listens", async (context) => {
    const home = await makeHome(plan)
    context.after(() => home.remove())
    const { child, ended, logged, messages } = await launchAndSignal(home, "SIGHUP", "SIGHUP")
    context.after(() => child.kill("SIGKILL"))
    await logged(/^settings taken in/)
    assert.match(messages[0] ?? "", /^listening on /)
    child.kill("SIGTERM")
    assert.deepEqual(await ended, [0, null])
  })
})

suite("A second stop while the service drains", () => {
  for (const second of ["SIGINT", "SIGTERM"] as const) {
    test(`is the same as the first where it comes with it, as from npm: SIGINT, ${second}`, async (context) => {
      const home = await makeHome(plan)
      context.after(() => home.remove())
      const { child, ended, logged, messages } = launch(home)
      context.after(() => child.kill("SIGKILL"))
      await logged(/^listening on /)
      const address = /http:\S+/.exec(messages.join("\n"))?.[0] ?? ""
      // Who has asked nothing yet is waited for a while, so that the drain does not end before the second signal.
      const silent = connect(Number(new URL(address).port), "127.0.0.1")
      context.after(() => silent.destroy())
      await once(silent, "connect")
      child.kill("SIGINT")
      await logged(/^SIGINT: finishing/)
      child.kill(second)
      silent.end()
      assert.deepEqual(await ended, [0, null], messages.join("; "))
      assert.equal(messages.at(-1), "stopped")
    })
  }
})
