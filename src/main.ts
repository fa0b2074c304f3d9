import { readFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import closeWithGrace from "close-with-grace"
import type { Logger } from "pino"
import { inspectKeys } from "./blobs/keyring.ts"
import { type Command, exitCodes, helpText, parseArguments } from "./cli/arguments.ts"
import { outliveOutput, output, writeOut } from "./cli/standard-output.ts"
import type { Secrets } from "./compose/stores.ts"
import type { Service } from "./compose.ts"
import { StartError } from "./domain/start-error.ts"
import { openLog } from "./log.ts"
import type { Settings } from "./settings.ts"
import { onStopSignal, stopSignals } from "./stop-signals.ts"

type Serve = Extract<Command, { command: "serve" }>

/** A drain that takes longer ends the process; what it left open stands in the journal. */
const drainMs = 15_000

/** The process: flags, settings, signals. The only reader of the environment and the command line. */
export async function main(argv: readonly string[]): Promise<void> {
  const command = parseArguments(argv)
  outliveOutput()
  try {
    if (command.command === "serve") return await serve(command)
    process.exitCode = await runOnce(command)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    output.err(`${error.message}\n`)
    process.exitCode = exitCodes.refused
  }
}

async function runOnce(command: Exclude<Command, Serve>): Promise<number> {
  switch (command.command) {
    case "help":
      output.out(helpText)
      return exitCodes.ok
    case "version":
      output.out(`${versionOf()}\n`)
      return exitCodes.ok
    case "refused":
      output.err(`${command.message}\n`)
      return exitCodes.usage
    case "known-hosts scan": {
      const { scanHostKeys } = await import("./ssh/scan.ts")
      const { knownHostsScan } = await import("./cli/known-hosts.ts")
      const settings = await settingsOf(command.file)
      return knownHostsScan({ settings, targets: command.targets, scan: scanHostKeys, output })
    }
    case "check": {
      const { checkCommand } = await import("./cli/check.ts")
      const { placeChecks } = await import("./compose/stores.ts")
      const { AjvValidator } = await import("./validation/validator.ts")
      return checkCommand({
        flags: command,
        file: fileOf(command.file),
        environment: surroundings(),
        openValidator: (schemaDir) => new AjvValidator({ schemaDir }),
        checkKeys: (settings) => checkKeys(settings),
        placeChecks,
        output,
      })
    }
    case "reindex": {
      const { reindexCommand } = await import("./cli/reindex.ts")
      const { reindex } = await import("./compose/maintenance.ts")
      const settings = await settingsOf(command.file)
      return reindexCommand({ reindex: (onFinding) => reindex(settings, takeSecrets(settings), onFinding), output })
    }
    case "verify":
      return verify(command)
    case "rewrap": {
      const { rewrapCommand } = await import("./cli/rewrap.ts")
      const { rewrap } = await import("./compose/maintenance.ts")
      const settings = await settingsOf(command.file)
      return rewrapCommand({ rewrap: (onFinding) => rewrap(settings, takeSecrets(settings), onFinding), output })
    }
    case "restore-catalog": {
      const { restoreCatalogCommand } = await import("./cli/restore-catalog.ts")
      const { bringHome, placeOf } = await import("./compose/homecoming.ts")
      const settings = await settingsOf(command.file)
      const place = placeOf(settings, command.from)
      const restore = (onFinding: (sentence: string) => void) =>
        bringHome(settings, takeSecrets(settings), place, onFinding)
      return restoreCatalogCommand({ restore, output })
    }
    case "open": {
      const { loadOpeningKeys } = await import("./blobs/keyring.ts")
      const { openSealedFile } = await import("./blobs/sealed-file.ts")
      const { openCommand } = await import("./cli/open.ts")
      const { backupKeyPath, backupPassphrase } = takeBackupKeys()
      const keys = await loadOpeningKeys(command.key ?? backupKeyPath, backupPassphrase)
      const open = (path: string, sealed: Buffer) => openSealedFile(path, sealed, keys)
      return openCommand({ path: command.blob, open, output, write: writeOut })
    }
  }
}

async function verify({ file, share }: Extract<Command, { command: "verify" }>): Promise<number> {
  const { verifyCommand } = await import("./cli/verify.ts")
  const { readStore } = await import("./compose/maintenance.ts")
  const settings = await settingsOf(file)
  const store = await readStore(settings, takeSecrets(settings))
  try {
    const { withoutCatalog } = store
    return await verifyCommand({ withoutCatalog, verify: (onFinding) => store.check(share, onFinding), output })
  } finally {
    store.close()
  }
}

async function settingsOf(file: string | null): Promise<Settings> {
  const { loadSettings } = await import("./settings.ts")
  return loadSettings(fileOf(file), surroundings())
}

async function serve(command: Serve): Promise<void> {
  const signals = holdSignals()
  try {
    // Loaded only now: most of a start is the reading of code, and a signal meanwhile must not end the process.
    const { loadSettings } = await import("./settings.ts")
    const { checkListening } = await import("./settings/listening.ts")
    const { compose } = await import("./compose.ts")
    const read = (): Promise<Settings> => loadSettings(fileOf(command.file), surroundings())
    const settings = await read()
    checkListening(settings, command)
    const logger = await openLog(process.env.CONFIG_MANAGER_LOG_LEVEL)
    const secrets = takeSecrets(settings)
    const service = await compose(settings, { secrets, logger, version: versionOf(), newKey: command.newKey })
    if (!signals.stopAsked()) await listen(service, settings)
    handleSignals(service, read, logger)
  } finally {
    signals.release()
  }
}

async function listen(service: Service, settings: Settings): Promise<void> {
  const { host, port } = settings.server
  try {
    await service.app.listen({ host, port, listenTextResolver: (address) => `listening on ${address}` })
    // From here on the young generation grows as the work asks for it; see bin/config-manager.js.
    setFlagsFromString("--semi-space-growth-factor=2")
  } catch (error) {
    await service.stop()
    throw listenError(error, settings)
  }
}

interface HeldSignals {
  stopAsked(): boolean
  /** Sends each signal that came again, once, to whoever listens for it by now; nobody, where the start was refused. */
  release(): void
}

/** Keeps the signals that come while the service starts, which would end the process with its locks and work as they are. */
function holdSignals(): HeldSignals {
  const names = ["SIGHUP", ...stopSignals] as const
  const held = new Set<NodeJS.Signals>()
  let limit: NodeJS.Timeout | undefined
  const hold = (signal: NodeJS.Signals): void => {
    held.add(signal)
    if (signal !== "SIGHUP") limit ??= setTimeout(() => process.exit(1), drainMs).unref()
  }
  for (const name of names) process.on(name, hold)
  return {
    stopAsked: () => held.has("SIGINT") || held.has("SIGTERM"),
    release: () => {
      clearTimeout(limit)
      for (const name of names) process.off(name, hold)
      // One stop is enough: a second one would end the process before it is done.
      const [stop] = [...held].filter((name) => name !== "SIGHUP")
      for (const name of stop ? [stop] : held) process.emit(name, name)
    },
  }
}

function handleSignals(service: Service, read: () => Promise<Settings>, logger: Logger): void {
  const reload = async (): Promise<void> => {
    const refusal = await read()
      .then((next) => service.reload(next))
      .then(
        (fixed) =>
          fixed.length === 0
            ? null
            : `${fixed.join(", ")} can only be changed by a restart; nothing of the file was taken`,
        (error: unknown) => (error instanceof Error ? error.message : "unknown error"),
      )
    service.noteReload(refusal)
    if (refusal === null) logger.info("settings taken in")
    else logger.error(`settings not taken in: ${refusal}`)
  }
  let reloading = Promise.resolve()
  process.on("SIGHUP", () => {
    reloading = reloading.then(reload)
  })
  const skip = ["SIGHUP" as const, ...stopSignals]
  const { close } = closeWithGrace({ delay: drainMs, logger: false, skip }, async ({ err }) => {
    if (err) logger.fatal({ err }, "an error that should not happen ends the service")
    await service.stop()
    logger.info("stopped")
  })
  onStopSignal((name) => {
    logger.info(`${name}: finishing what is under way`)
    void close()
  })
}

/** What the environment holds, taken out of it so that no child or crash report shows it. */
function takeSecrets(settings: Settings): Secrets {
  return {
    ...takeBackupKeys(),
    sshPassphrase: settings.ssh.passphraseEnv === null ? null : take(settings.ssh.passphraseEnv),
    agentSocket: process.env.SSH_AUTH_SOCK ?? null,
  }
}

function takeBackupKeys(): Pick<Secrets, "backupKeyPath" | "backupPassphrase"> {
  const ours = { keyPath: take("CONFIG_MANAGER_BACKUP_KEY_PATH"), passphrase: take("CONFIG_MANAGER_BACKUP_PASSPHRASE") }
  const original = {
    keyPath: take("TH_TIMMY_CONFIG_BACKUP_KEY_PATH"),
    passphrase: take("TH_TIMMY_CONFIG_BACKUP_PASSPHRASE"),
  }
  return {
    backupKeyPath: ours.keyPath ?? original.keyPath,
    backupPassphrase: ours.passphrase ?? original.passphrase,
  }
}

function take(name: string): string | null {
  const value = process.env[name]
  delete process.env[name]
  return value === undefined || value === "" ? null : value
}

async function checkKeys(settings: Settings): Promise<string> {
  const { backupKeyPath, backupPassphrase } = takeSecrets(settings)
  const { keyPath, oldKeyPaths, location } = settings.backups
  return inspectKeys({
    keyPath: keyPath ?? backupKeyPath,
    passphrase: backupPassphrase,
    oldKeyPaths,
    backupLocation: location,
    newKey: false,
  })
}

function fileOf(flag: string | null): string {
  return flag ?? process.env.CONFIG_MANAGER_CONFIG ?? "configs/config.yml"
}

function surroundings(): { readonly home: string; readonly cwd: string } {
  return { home: homedir(), cwd: process.cwd() }
}

function versionOf(): string {
  const text = readFileSync(join(import.meta.dirname, "..", "package.json"), "utf8")
  return (JSON.parse(text) as { version: string }).version
}

function listenError(error: unknown, { server: { host, port } }: Settings): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === "EADDRINUSE") {
    return new StartError(
      `${host}:${port} is taken by another process; choose another server.port (0: any that is free).`,
    )
  }
  if (code === "EACCES")
    return new StartError(`${host}:${port} may not be listened on; choose a server.port above 1023.`)
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND")
    return new StartError(`server.host ${host} is no address of this machine.`)
  return error
}
