import assert from "node:assert/strict"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Home, makeHome, type Service } from "../test/support/service.ts"
import { type Sshd, startSshd } from "../test/support/sshd.ts"

/** How many VMs stand for the fleet; each is a server of its own, with its own host key and folder. */
const servers = 4
/** VM entries per server: each has its own connection, so that each first call is a cold one. */
const entriesPerServer = 8

export interface Fleet {
  readonly sshds: readonly Sshd[]
  readonly home: Home
  readonly service: Service
  readonly vmIds: readonly string[]
  /** The server and the file that a VM id stands for. */
  targetOf(vmId: string): { readonly sshd: Sshd; readonly path: string }
  close(): Promise<void>
}

export const schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    counter: { type: "integer" },
    services: {
      type: "array",
      items: {
        type: "object",
        required: ["name", "port"],
        properties: { name: { type: "string", maxLength: 64 }, port: { type: "integer", minimum: 1, maximum: 65_535 } },
      },
    },
  },
}

/** A config of about 4 KiB whose bytes differ by the counter. */
export function configText(counter: number): string {
  const services = Array.from({ length: 105 }, (_, i) => `  - name: service-${i}-of-the-fleet\n    port: ${1000 + i}\n`)
  return `counter: ${String(counter).padStart(10, "1")}\nservices:\n${services.join("")}`
}

/** Real sshds on loopback and the shipped process in front of them. */
export async function startFleet(options: { readonly through?: (sshd: Sshd) => Promise<number> } = {}): Promise<Fleet> {
  const sshds = await Promise.all(
    Array.from({ length: servers }, () => startSshd({ config: ["MaxStartups 100:30:200"] })),
  )
  const entries = await Promise.all(
    sshds.map(async (sshd, server) => {
      const port = (await options.through?.(sshd)) ?? sshd.port
      const numbers = Array.from({ length: entriesPerServer }, (_, i) => i)
      const all = numbers.map((i) => ({
        vmId: `vm${server}-${i}`,
        sshd,
        port,
        path: join(sshd.root, `config-${i}.yml`),
      }))
      await Promise.all(all.map(({ path }) => writeFile(path, configText(0))))
      return all
    }),
  )
  const all = entries.flat()
  const known = all.flatMap(({ sshd, port }) => sshd.hostKeys.map((key) => `[${sshd.host}]:${port} ${key.publicKey}\n`))
  const vms = Object.fromEntries(
    all.map(({ vmId, sshd, port }) => [
      vmId,
      {
        ip: sshd.host,
        ssh_port: port,
        ssh_user: sshd.user,

        private_key_path: sshd.clientKeyPath,
      },
    ]),
  )
  const paths = Object.fromEntries(all.map(({ vmId, path }) => [vmId, path]))
  const home = await makeHome({
    settings: {
      vms,
      ssh: { known_hosts_path: "known_hosts" },
      limits: { requests_per_minute: 0 },
      config_management: { config_paths: { app: paths }, config_schemas: { app: "app.schema.json" } },
    },
    schemas: { "app.schema.json": schema },
    environment: { CONFIG_MANAGER_LOG_LEVEL: "info" },
  })
  await writeFile(join(home.dir, "known_hosts"), known.join(""))
  const service = await home.start()
  return {
    sshds,
    home,
    service,
    vmIds: all.map(({ vmId }) => vmId),
    targetOf: (vmId) => all.find((entry) => entry.vmId === vmId) ?? assert.fail(`no VM ${vmId}`),
    close: async () => {
      await service.stop()
      await home.remove()
      await Promise.all(sshds.map((sshd) => sshd.stop()))
    },
  }
}
