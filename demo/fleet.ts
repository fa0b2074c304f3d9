import { mkdir, readFile, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { startSshServer } from "./ssh-server.ts"

/** Where the files of each type stand on every VM. */
export const paths = {
  central: "/opt/th_timmy/configs/central.yml",
  vm_specific: "/opt/th_timmy/configs/{vmId}.yml",
  env: "/opt/th_timmy/.env",
} as const

/** What a file is made of, and its permission bits. */
const files: Readonly<Record<keyof typeof paths, { readonly template: string; readonly mode: number }>> = {
  central: { template: "central.yml", mode: 0o640 },
  vm_specific: { template: "vm.yml", mode: 0o640 },
  env: { template: "env", mode: 0o600 },
}

const machines = [
  { vmId: "vm01", name: "threat-hunt-vm01", role: "edge", isUp: true },
  { vmId: "vm02", name: "threat-hunt-vm02", role: "edge", isUp: true },
  { vmId: "vm03", name: "threat-hunt-vm03", role: "analysis", isUp: false },
  { vmId: "vm04", name: "threat-hunt-vm04", role: "database", isUp: true },
] as const

/** The port of a VM that is down: below 1024, and long out of use, so that nothing takes it while the demo runs. */
const deadPort = 1

export interface DemoVm {
  readonly vmId: string
  readonly name: string
  readonly role: string
  readonly port: number
  /** Lines of known_hosts; null: down, so nobody has seen its key. */
  readonly hostKeyLine: string | null
}

/** VMs of this process: a folder each, and an SSH server over it. */
export class Fleet {
  readonly vms: readonly DemoVm[]
  readonly #dir: string

  private constructor(dir: string, vms: readonly DemoVm[]) {
    this.#dir = dir
    this.vms = vms
  }

  /** `onStop` takes what ends each server, as soon as there is one. */
  static async start(options: {
    readonly dir: string
    readonly host: string
    readonly authorizedKey: string
    readonly onStop: (stop: () => Promise<void>) => void
  }): Promise<Fleet> {
    const vms: DemoVm[] = []
    for (const { isUp, ...machine } of machines) {
      const root = join(options.dir, machine.vmId)
      await furnish(root, machine)
      if (!isUp) {
        vms.push({ ...machine, port: deadPort, hostKeyLine: null })
        continue
      }
      const server = await startSshServer({ root, authorizedKey: options.authorizedKey })
      options.onStop(() => server.close())
      vms.push({ ...machine, port: server.port, hostKeyLine: server.hostKeyLine(options.host) })
    }
    return new Fleet(options.dir, vms)
  }

  /** The file of a type on a VM, as a path of this machine: what someone logged in there would open. */
  file(vmId: string, type: keyof typeof paths): string {
    return join(this.#dir, vmId, paths[type].replaceAll("{vmId}", vmId))
  }
}

async function furnish(root: string, machine: { readonly vmId: string; readonly name: string; readonly role: string }) {
  for (const [type, { template, mode }] of Object.entries(files)) {
    const path = join(root, paths[type as keyof typeof paths].replaceAll("{vmId}", machine.vmId))
    const text = await readFile(join(import.meta.dirname, "files", template), "utf8")
    const filled = text
      .replaceAll("{vmId}", machine.vmId)
      .replaceAll("{name}", machine.name)
      .replaceAll("{role}", machine.role)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, filled, { mode })
  }
}
