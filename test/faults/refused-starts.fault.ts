import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Json } from "../e2e/client.ts"
import { type Home, makeHome, type ServicePlan } from "../support/service.ts"
import { type FaultRun, faultRun } from "./frame.ts"

const settings: Json = {
  vms: { vm01: { name: "vm01", ip: "127.0.0.1", host_key: `SHA256:${"A".repeat(43)}` } },
  config_management: {
    config_paths: { central: { default: "/app/central.yml" } },
    config_types: { central: { schema: "none" } },
  },
  ssh: { user: "x" },
}

type Result = Awaited<ReturnType<Home["run"]>>

/** A start that must be refused: exit code 78, a sentence that fits, and no byte of a key. */
function auditRefusal(
  run: FaultRun,
  what: string,
  { code, stdout, stderr }: Result,
  sentence: RegExp,
  keys: readonly Buffer[],
) {
  run.count("runs")
  if (code !== 78) run.found("wrong outcomes", `${what}: exit code ${code}: ${stderr}`)
  if (!sentence.test(stderr)) run.found("wrong outcomes", `${what}: ${stderr}`)
  if (shows(stdout + stderr, keys)) run.found("wrong outcomes", `${what}: a key is shown`)
}

/** Whether any eight bytes in a row of a key can be read in `text`, in any notation that we take keys in. */
function shows(text: string, keys: readonly Buffer[]): boolean {
  return keys.some((key) => {
    const notations = [key.toString("latin1"), key.toString("hex"), key.toString("base64")]
    return notations.some((notation) => {
      for (let at = 0; at + 8 <= notation.length; at++) if (text.includes(notation.slice(at, at + 8))) return true
      return false
    })
  })
}

interface KeyCase {
  readonly what: string
  readonly sentence: RegExp
  /** Replaces the key file of a home whose blobs were sealed with another one. */
  readonly spoil: (keyFile: string, key: Buffer) => void
  readonly environment?: Readonly<Record<string, string>>
}

const rewrite = (bytes: (key: Buffer) => Buffer | string, mode = 0o600): KeyCase["spoil"] => {
  return (keyFile, key) => {
    rmSync(keyFile)
    writeFileSync(keyFile, bytes(key), { mode })
    chmodSync(keyFile, mode)
  }
}

const keyCases: readonly KeyCase[] = [
  { what: "missing", sentence: /does not exist\. Make one with/, spoil: (keyFile) => rmSync(keyFile) },
  { what: "empty", sentence: /is empty/, spoil: rewrite(() => "") },
  { what: "short", sentence: /has 31 bytes that are no key/, spoil: rewrite((key) => key.subarray(1)) },
  {
    what: "long",
    sentence: /has 33 bytes that are no key/,
    spoil: rewrite((key) => Buffer.concat([key, Buffer.of(7)])),
  },
  { what: "far too long", sentence: /more than 1024 bytes/, spoil: rewrite((key) => Buffer.alloc(5000, key)) },
  { what: "hex with a digit too few", sentence: /has 63 bytes/, spoil: rewrite((key) => key.toString("hex").slice(1)) },
  {
    what: "base64 without its padding",
    sentence: /has 43 bytes/,
    spoil: rewrite((key) => key.toString("base64").slice(0, 43)),
  },
  { what: "all zero", sentence: /has 32 bytes, and its key is all zero/, spoil: rewrite(() => Buffer.alloc(32)) },
  { what: "all zero in hex", sentence: /has 64 bytes, and its key is all zero/, spoil: rewrite(() => "0".repeat(64)) },
  { what: "readable by all", sentence: /open to others \(mode 0644\)/, spoil: rewrite((key) => key, 0o644) },
  { what: "another one", sentence: /is not the one that sealed.*--new-key/, spoil: rewrite(() => randomBytes(32)) },
  {
    what: "a directory",
    sentence: /is not a regular file/,
    spoil: (keyFile) => {
      rmSync(keyFile)
      mkdirSync(keyFile)
    },
  },
]

faultRun(
  { id: "R10", name: "keys that are no good: refused in words, no byte shown", ci: 1, nightly: 5 },
  async (run) => {
    await withSealed(randomBytes(32), {}, async (home, key) => {
      for (let round = 0; round < run.size; round++) {
        for (const { what, sentence, spoil } of keyCases) {
          spoil(home.keyFile, key)
          auditRefusal(run, what, await home.run(["serve"]), sentence, [key])
          rmSync(home.keyFile, { recursive: true, force: true })
          writeFileSync(home.keyFile, key, { mode: 0o600 })
        }
      }
      // Nothing of it has changed what the right key opens.
      assert.equal(await (await home.start()).stop(), 0)
    })
  },
)

faultRun({ id: "R10", name: "two keys, and a lost keyring.json: it starts", ci: 1, nightly: 5 }, async (run) => {
  const passphrase = "correct horse battery staple"
  const environment = { CONFIG_MANAGER_BACKUP_PASSPHRASE: passphrase }
  for (let round = 0; round < run.size; round++) {
    await withSealed(randomBytes(32), { environment }, async (home, key) => {
      rmSync(join(home.backups, "keyring.json"))
      const service = await home.start()
      run.count("runs")
      if (shows(JSON.stringify(service.lines), [key, Buffer.from(passphrase)]))
        run.found("wrong outcomes", "a key is in the log")
      assert.equal(await service.stop(), 0)
    })
  }
})

/** A home in which a service has run once with `key`. */
async function withSealed(
  key: Buffer,
  plan: Partial<ServicePlan>,
  work: (home: Home, key: Buffer) => Promise<void>,
): Promise<void> {
  const home = await makeHome({ settings, ...plan })
  try {
    writeFileSync(home.keyFile, key)
    assert.equal(await (await home.start()).stop(), 0)
    await work(home, key)
  } finally {
    await home.remove()
  }
}

/** ms, the start of Node included; the lock itself is waited for some 300. */
const refusalLimitMs = 1000

for (const shared of ["state_dir", "backup_location"] as const) {
  faultRun({ id: "R28", name: `a second process on the same ${shared}`, ci: 5, nightly: 20 }, async (run) => {
    const first = await makeHome({ settings })
    const second = await makeHome({ settings: sharing(first, shared) })
    const service = await first.start()
    try {
      const took: number[] = []
      for (let round = 0; round < run.size; round++) {
        const begin = performance.now()
        const refused = await second.run(["serve"])
        took.push(Math.round(performance.now() - begin))
        auditRefusal(run, shared, refused, /Another process of Config Manager is at work in/, [])
      }
      run.note(`refused after ${took.join(", ")} ms`)
      // The fastest tells what the service needs, the others what else this machine had to do.
      if (Math.min(...took) > refusalLimitMs) run.found("hangs", `refused after ${Math.min(...took)} ms at best`)
      assert.equal((await fetch(`${service.url}/readyz`)).status, 200)
    } finally {
      await service.stop()
      await first.remove()
      await second.remove()
    }
  })
}

function sharing({ state, backups, keyFile }: Home, shared: "state_dir" | "backup_location"): Json {
  if (shared === "state_dir") return { ...settings, state_dir: state }
  const management = { ...(settings.config_management as Json), backup_location: backups, encryption_key_path: keyFile }
  return { ...settings, config_management: management }
}
