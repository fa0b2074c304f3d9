import assert from "node:assert/strict"
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, readdirSync, rmSync, watch } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { after, before, suite, test } from "node:test"
import { promisify } from "node:util"

const main = join(import.meta.dirname, "..", "..", "demo", "main.ts")
/** One that lives longer has hung. */
const lifeLimitMs = 60_000
const run = promisify(execFile)

/** A demo in a process of its own, with a folder of its own for what is temporary. */
class Demo {
  readonly temporary = mkdtempSync(join(tmpdir(), "config-manager-test-demo-"))
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown[]>
  readonly #limit: NodeJS.Timeout
  stdout = ""
  stderr = ""

  constructor(...args: readonly string[]) {
    const env = { ...process.env, TMPDIR: this.temporary }
    this.#child = spawn(process.execPath, [main, ...args], { env, stdio: ["ignore", "pipe", "pipe"] })
    this.#ended = once(this.#child, "close")
    this.#limit = setTimeout(() => this.#child.kill("SIGKILL"), lifeLimitMs)
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text
    })
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text
    })
  }

  /** Resolves once it has said all it has to say. */
  async started(): Promise<this> {
    while (!this.stdout.includes("Ctrl-C")) {
      const stopped = await Promise.race([
        this.#ended.then(() => true),
        once(this.#child.stdout ?? this.#child, "data").then(() => false),
      ])
      if (stopped && !this.stdout.includes("Ctrl-C")) throw new Error(`The demo ended: ${this.stderr}${this.stdout}`)
    }
    return this
  }

  get url(): string {
    return /http:\/\/127\.0\.0\.1:\d+/.exec(this.stdout)?.[0] ?? ""
  }

  /** The lines to paste, in the order in which they are shown. */
  get commands(): readonly string[] {
    return this.stdout.split("\n").filter((line) => line.startsWith("curl "))
  }

  async ended(): Promise<number | null> {
    const [code] = await this.#ended
    return code as number | null
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.#child.kill(signal)
    return this.ended()
  }

  /** Ends it whatever happened. */
  async clear(): Promise<void> {
    clearTimeout(this.#limit)
    this.#child.kill("SIGKILL")
    await this.#ended
    rmSync(this.temporary, { recursive: true, force: true })
  }

  get left(): readonly string[] {
    return readdirSync(this.temporary)
  }
}

/** Pastes one of its lines into a shell. */
async function paste(line: string | undefined): Promise<string> {
  assert.ok(line)
  const { stdout } = await run("bash", ["-c", line])
  return stdout
}

async function pasteJson(line: string | undefined): Promise<Readonly<Record<string, unknown>>> {
  return JSON.parse(await paste(line)) as Readonly<Record<string, unknown>>
}

/** As much of an OpenAPI document as it takes to send its examples. */
interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Call>>>>
}

interface Call {
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly example?: unknown }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, BodyContent>> }
}

interface BodyContent {
  readonly example?: unknown
  readonly schema?: { readonly properties?: Readonly<Record<string, { readonly examples?: readonly unknown[] }>> }
}

/** Every call, filled in as Swagger UI does it: each parameter and member that has an example. */
function callsOf({ paths }: Description) {
  return Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody }]) => {
      const query = new URLSearchParams()
      let path = template
      for (const { name, in: place, example } of parameters) {
        if (example === undefined) continue
        if (place === "path") path = path.replace(`{${name}}`, String(example))
        if (place === "query") query.append(name, String(example))
      }
      const body = requestBody && JSON.stringify(exampleOf(requestBody.content["application/json"]))
      return { method: method.toUpperCase(), path: query.size > 0 ? `${path}?${query}` : path, body }
    }),
  )
}

function exampleOf(content: BodyContent | undefined): unknown {
  if (content?.example !== undefined) return content.example
  const members = Object.entries(content?.schema?.properties ?? {})
  return Object.fromEntries(members.map(([name, { examples }]) => [name, examples?.[0]]))
}

/** Starts it under a Node that believes to be `version`. */
function startAs(version: string) {
  const preload = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`
  const args = ["--import", `data:text/javascript,${encodeURIComponent(preload)}`, join(dirname(main), "index.js")]
  return spawnSync(process.execPath, args, { encoding: "utf8", timeout: 10_000 })
}

suite("demo", () => {
  let demo: Demo

  before(async () => {
    demo = new Demo("--port", "0")
    await demo.started()
  })

  after(() => demo.clear())

  test("shows the cycle in five lines that work as they are, in their order", async () => {
    const [read, dryRun, write, list, restore] = demo.commands

    assert.match(await paste(read), /^# What all VMs[\s\S]*\nretention_days: 90\n$/)

    const trial = await paste(dryRun)
    assert.match(trial, /"dryRun":true/)
    assert.match(trial, /\n-retention_days: 90\n\+retention_days: 120 # asked for by the auditors\n/)
    assert.match(await paste(read), /\nretention_days: 90\n$/)

    const written = await pasteJson(write)
    assert.equal(written.outcome, "written")
    assert.match(await paste(read), /\nretention_days: 120 # asked for by the auditors\n$/)

    const { items } = (await pasteJson(list)) as { items: Readonly<Record<string, unknown>>[] }
    assert.deepEqual(
      items.map(({ trigger }) => trigger),
      ["written", "found", "manual", "manual", "manual", "manual"],
    )

    const restored = await pasteJson(restore)
    assert.equal(restored.outcome, "written")
    assert.equal(restored.restoredFrom, items[2]?.backupId)
    assert.equal(restored.digest, items[2]?.digest)
    assert.match(await paste(read), /level: warning/)
  })

  test("has a VM that is down", async () => {
    const problem = await pasteJson(demo.commands[5])

    assert.equal(problem.code, "vm_unreachable")
  })

  test("has a file that was edited behind the service's back, which a late writer does not overwrite", async () => {
    assert.match(await paste(demo.commands[6]), /\n-.*3 a\.m\./)

    const problem = await pasteJson(demo.commands[7])

    assert.equal(problem.code, "precondition_failed")
    assert.equal(problem.fileState, "unchanged")
    assert.match(await paste(demo.commands[6]), /\n-.*3 a\.m\./)
  })

  test("lets pages of this machine call the API, and no others", async () => {
    const allowed = async (origin: string): Promise<string | null> => {
      const response = await fetch(`${demo.url}/vms`, { headers: { origin } })
      await response.body?.cancel()
      return response.headers.get("access-control-allow-origin")
    }

    assert.equal(await allowed("http://localhost:5173"), "http://localhost:5173")
    assert.equal(await allowed("http://localhost.example.com:5173"), null)
    assert.equal(await allowed("https://example.com"), null)
  })

  test("answers every call of the API's description with the examples that the page of all calls fills in", async () => {
    const page = await fetch(`${demo.url}/docs`)
    assert.match(await page.text(), /swagger-ui/)

    const calls = callsOf((await (await fetch(`${demo.url}/openapi.json`)).json()) as Description)

    assert.ok(calls.length > 20)
    for (const { method, path, body } of calls) {
      const headers = body === undefined ? undefined : { "content-type": "application/json" }
      const response = await fetch(demo.url + path, { method, headers, body })
      const text = await response.text()
      assert.equal(response.ok, true, `${method} ${path}: ${text}`)
      if (path.startsWith("/backups?")) assert.match(text, /"backupId"/, path)
    }
  })

  test("takes the next port and says so when its own is taken", async (t) => {
    const port = Number(new URL(demo.url).port)
    const second = new Demo("--port", String(port))
    t.after(() => second.clear())

    await second.started()

    const next = Number(new URL(second.url).port)
    assert.ok(next > port)
    assert.equal(second.stdout.split("\n")[0], `Port ${port} is taken by another process; the demo listens on ${next}.`)
    assert.equal(await second.end("SIGINT"), 0)
    assert.deepEqual(second.left, [])
    assert.equal(second.stderr, "")
  })

  test("leaves nothing when no port is left to take", async (t) => {
    const blocker = createServer().listen(65_535, "127.0.0.1")
    t.after(() => blocker.close())
    // One that another process holds does as well.
    await Promise.race([once(blocker, "listening"), once(blocker, "error")])
    const failing = new Demo("--port", "65535")
    t.after(() => failing.clear())

    assert.equal(await failing.ended(), 1)

    assert.equal(failing.stderr, "No port from 65535 to 65535 is free; choose a lower one.\n")
    assert.deepEqual(failing.left, [])
  })

  test("leaves nothing when it is ended while it starts", async (t) => {
    const early = new Demo("--port", "0")
    t.after(() => early.clear())
    const watcher = watch(early.temporary)
    t.after(() => watcher.close())
    if (early.left.length === 0) await once(watcher, "change")

    assert.equal(await early.end("SIGTERM"), 0)

    assert.deepEqual(early.left, [])
  })

  test("refuses a port that is none, and makes nothing", async (t) => {
    const refused = new Demo("--port", "65536")
    t.after(() => refused.clear())

    assert.equal(await refused.ended(), 64)

    assert.match(refused.stderr, /^Use: npm run demo/)
    assert.deepEqual(refused.left, [])
  })

  test("says in words which Node it needs", () => {
    for (const version of ["18.20.8", "22.17.1", "23.5.0"]) {
      const { status, stdout, stderr } = startAs(version)
      assert.deepEqual([status, stdout], [78, ""])
      assert.equal(
        stderr,
        `The demo needs Node 22.18 or newer, and this is Node ${version}: start it by \`npm run demo\`, ` +
          "which uses the Node that `npm ci` installed.\n",
      )
    }
  })

  test("leaves nothing when it is ended", async () => {
    const file = demo.commands[2]?.match(/-T (\S+)/)?.[1]
    assert.ok(file && existsSync(file))

    assert.equal(await demo.end("SIGTERM"), 0)

    assert.deepEqual(demo.left, [])
    assert.equal(demo.stderr, "")
  })
})
