import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"

/**
 * `node scripts/warm.ts`: starts the service once, on a throwaway state, and stops it. What Node stripped of types and compiled
 * meanwhile is kept beside the packages, so that the next start takes half the time; and an installation that cannot start
 * fails here. The cache is one of its user's: run it as the user that the service runs as.
 */
const bin = join(import.meta.dirname, "..", "bin", "config-manager.js")
const dir = await mkdtemp(join(tmpdir(), "config-manager-warm-"))
const settings = `
vms: { vm01: { ip: 127.0.0.1 } }
config_management:
  backup_location: ${join(dir, "backups")}
  config_paths: { central: { default: /central.yml } }
  config_types: { central: { schema: none } }
server: { port: 0 }
state_dir: ${join(dir, "state")}
`
try {
  await writeFile(join(dir, "config.yml"), settings)
  const environment = {
    ...process.env,
    CONFIG_MANAGER_BACKUP_PASSPHRASE: "for a moment",
    CONFIG_MANAGER_LOG_LEVEL: "info",
  }
  const service = spawn(process.execPath, [bin, "serve", "--config", join(dir, "config.yml")], {
    env: environment,
    stdio: ["ignore", "pipe", "inherit"],
  })
  const ended = once(service, "close")
  for await (const line of createInterface({ input: service.stdout })) {
    const [, url] = /"listening on (\S+)"/.exec(line) ?? []
    if (url === undefined) continue
    for (const path of ["/readyz", "/vms", "/backups", "/openapi.json", "/docs"]) await fetch(new URL(path, url))
    service.kill("SIGTERM")
  }
  const [code] = (await ended) as [number | null]
  if (code !== 0) throw new Error(`The service did not start and end as it should: exit code ${code}.`)
} finally {
  await rm(dir, { recursive: true, force: true })
}
