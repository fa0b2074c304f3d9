import { access, constants } from "node:fs/promises"
import type { DocumentValidator } from "../domain/document-validator.ts"
import { StartError } from "../domain/start-error.ts"
import { describeSettings } from "../settings/describe.ts"
import { checkListening, type ListeningFlags } from "../settings/listening.ts"
import type { Environment } from "../settings/paths.ts"
import { loadSettings, type Settings } from "../settings.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

export interface CheckParts {
  readonly file: string
  readonly environment: Environment
  /** A validator over `schemaDir`; `check` loads and closes it. */
  readonly openValidator: (schemaDir: string) => Pick<DocumentValidator, "load" | "close">
  /** Looks at the keys of the backups and changes nothing. @returns where they come from @throws {StartError} */
  readonly checkKeys: (settings: Settings) => Promise<string>
  /** Looks at whether the directories and the catalog can be had, touching nothing; each throws a StartError. */
  readonly placeChecks: (settings: Settings) => readonly (() => void)[]
  /** The flags that `serve` would be given. */
  readonly flags: ListeningFlags
  readonly output: Output
}

/** `config-manager check`: whether the service would start, and with what. Nothing is written, no VM is contacted. */
export async function checkCommand(parts: CheckParts): Promise<number> {
  const { output } = parts
  let settings: Settings
  try {
    settings = await loadSettings(parts.file, parts.environment)
  } catch (error) {
    output.err(`${sentenceOf(error)}\n`)
    return exitCodes.refused
  }
  const mistakes: string[] = []
  const attempt = async <T>(step: () => Promise<T>): Promise<T | null> => {
    try {
      return await step()
    } catch (error) {
      mistakes.push(sentenceOf(error))
      return null
    }
  }
  await attempt(() => compileSchemas(parts, settings))
  for (const look of parts.placeChecks(settings)) await attempt(async () => look())
  const keys = await attempt(() => parts.checkKeys(settings))
  await attempt(() => checkCertificate(settings))
  await attempt(async () => checkListening(settings, parts.flags))

  output.out(describeSettings(settings))
  if (keys !== null) output.out(`\nkeys: ${keys}\n`)
  for (const note of await notesOn(settings)) output.err(`note: ${note}\n`)
  for (const mistake of mistakes) output.err(`${mistake}\n`)
  if (mistakes.length > 0) return exitCodes.refused
  output.out("ok\n")
  return exitCodes.ok
}

async function compileSchemas({ openValidator }: CheckParts, { schemas }: Settings): Promise<void> {
  const validator = openValidator(schemas.dir)
  try {
    await validator.load(schemas.files)
  } finally {
    await validator.close()
  }
}

async function checkCertificate({ server }: Settings): Promise<void> {
  if (!server.tls) return
  const unreadable: string[] = []
  for (const path of [server.tls.certPath, server.tls.keyPath]) if (!(await isReadable(path))) unreadable.push(path)
  if (unreadable.length > 0) throw new StartError(`TLS: cannot read ${unreadable.join(" and ")}.`)
}

/** What stops no start, but would surprise later. */
async function notesOn(settings: Settings): Promise<string[]> {
  const notes: string[] = []
  const { privateKeyPath, agent } = settings.ssh
  for (const path of new Set([privateKeyPath, ...settings.inventory.vms.map((vm) => vm.privateKeyPath)])) {
    if (path !== null && !(await isReadable(path))) notes.push(`The private key ${path} cannot be read.`)
  }
  if (privateKeyPath === null && !agent && !(await isReadable(settings.execution.keyStoragePath))) {
    notes.push(
      `${settings.execution.keyStoragePath} cannot be read, so VMs without private_key_path have no key to log in with.`,
    )
  }
  const unpinned = settings.inventory.vms.filter((vm) => vm.hostKeys.length === 0).length
  if (unpinned > 0 && !(await isReadable(settings.ssh.knownHostsPath))) {
    notes.push(
      `${settings.ssh.knownHostsPath} cannot be read, so ${unpinned} VMs without host_key will be refused (host_key_unknown): ` +
        "see config-manager known-hosts scan.",
    )
  }
  return notes
}

async function isReadable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  )
}

/** What fails here is told to the operator in its own words; a bug goes up. */
function sentenceOf(error: unknown): string {
  const isBug = [TypeError, ReferenceError, RangeError, SyntaxError].some((bug) => error instanceof bug)
  if (isBug || !(error instanceof Error)) throw error
  return error.message
}
