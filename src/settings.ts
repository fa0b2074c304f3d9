import { resolve } from "node:path"
import type { Inventory } from "./domain/inventory.ts"
import type { ProxyJump } from "./domain/vm.ts"
import { buildSettings } from "./settings/build.ts"
import { readSettingsText } from "./settings/file.ts"
import { buildInventory } from "./settings/fleet.ts"
import { Mistakes, positionKey, type SettingPath, SettingsError } from "./settings/mistakes.ts"
import { type Environment, localPathIn } from "./settings/paths.ts"
import type { RawSettings } from "./settings/raw.ts"
import type { RemoteBackups } from "./settings/remote-path.ts"
import { checkRules } from "./settings/rules.ts"
import { ourSections } from "./settings/schema.ts"
import { checkShape } from "./settings/shape.ts"
import { readSource } from "./settings/source.ts"
import { checkDirectories, checkSchemaFiles, soundFleet } from "./settings/surroundings.ts"

/** The service's own settings: validated once, every default filled in, frozen. Paths are absolute, times in the unit of their name. */
export interface Settings {
  /** The file they were read from. */
  readonly file: string
  readonly inventory: Inventory
  readonly schemas: {
    readonly dir: string
    /** type -> file under `dir` */
    readonly files: ReadonlyMap<string, string>
  }
  readonly execution: {
    readonly timeoutMs: number
    readonly retries: number
    readonly poolSize: number
    readonly keyStoragePath: string
  }
  readonly ssh: {
    readonly user: string
    readonly port: number
    readonly knownHostsPath: string
    readonly privateKeyPath: string | null
    /** Name of the variable that holds the passphrase of encrypted keys. */
    readonly passphraseEnv: string | null
    readonly agent: boolean
    readonly proxyJump: ProxyJump | null
    readonly connectTimeoutMs: number
    readonly keepaliveMs: number
    readonly maxHandshakes: number
    readonly idleTimeoutMs: number
  }
  readonly backups: {
    readonly location: string
    readonly retentionDays: number
    /** From the settings file; null: not said there. */
    readonly keyPath: string | null
    readonly oldKeyPaths: readonly string[]
    /** Where copies go off this host; null: nowhere. */
    readonly remote: RemoteBackups | null
  }
  readonly server: {
    readonly host: string
    readonly port: number
    readonly tls: { readonly certPath: string; readonly keyPath: string } | null
    readonly corsOrigins: readonly string[]
  }
  readonly stateDir: string
  readonly limits: {
    readonly bodyBytes: number
    /** Per client address; 0: no limit. */
    readonly requestsPerMinute: number
    readonly connections: number
  }
}

/**
 * Reads and checks a settings file (DESIGN 2): taken as a whole or refused as a whole.
 * @throws {SettingsError} with every mistake that was found, each with its line
 */
export async function loadSettings(file: string, environment: Environment): Promise<Settings> {
  const path = resolve(environment.cwd, file)
  const text = await readSettingsText(path)
  const positions = new Map<string, number>()
  const mistakes = new Mistakes((at) => nearestLine(positions, at))
  const source = readSource(text, ourSections, positions, mistakes)
  if (!source) throw new SettingsError(path, mistakes.found)

  checkShape(source.root, mistakes)
  checkRules(source, mistakes)
  // Its shape is as the schema says wherever no mistake was found; the checks below look nowhere else.
  const raw = source.root as unknown as RawSettings
  const local = localPathIn(environment)
  await checkSchemaFiles(raw, local, mistakes)
  checkDirectories(raw, local, mistakes)
  const sound = soundFleet(raw, mistakes)
  const inventory = sound && buildInventory(sound, local, mistakes)
  if (mistakes.found.length > 0 || !inventory) throw new SettingsError(path, mistakes.found)
  return buildSettings(path, raw, inventory, local)
}

/** Line of a setting, or of the nearest one above it: what is missing has no line of its own. */
function nearestLine(positions: ReadonlyMap<string, number>, path: SettingPath): number | null {
  for (let length = path.length; length > 0; length -= 1) {
    const line = positions.get(positionKey(path.slice(0, length)))
    if (line !== undefined) return line
  }
  return null
}
