import { parseArgs } from "node:util"

/** What the command line asks for. `file` null: CONFIG_MANAGER_CONFIG, else the default place. */
export type Command =
  | {
      readonly command: "serve"
      readonly file: string | null
      readonly insecureHttp: boolean
      readonly noAuth: boolean
      readonly newKey: boolean
    }
  | {
      readonly command: "check"
      readonly file: string | null
      readonly insecureHttp: boolean
      readonly noAuth: boolean
    }
  | { readonly command: "known-hosts scan"; readonly file: string | null; readonly targets: readonly string[] }
  | { readonly command: "reindex"; readonly file: string | null }
  /** `key` null: the variables of the environment name the key. */
  | { readonly command: "open"; readonly blob: string; readonly key: string | null }
  /** `share`: which part of the versions is opened, 0 < share <= 1. */
  | { readonly command: "verify"; readonly file: string | null; readonly share: number }
  | { readonly command: "rewrap"; readonly file: string | null }
  /** `from` null: the place that the settings name. */
  | { readonly command: "restore-catalog"; readonly file: string | null; readonly from: string | null }
  | { readonly command: "help" }
  | { readonly command: "version" }
  /** Not to be understood: `message` goes to stderr, and the process ends with exit code 64. */
  | { readonly command: "refused"; readonly message: string }

/** Exit codes (sysexits.h): EX_USAGE for a command line, EX_CONFIG for settings, keys and schemas. */
export const exitCodes = { ok: 0, failed: 1, usage: 64, refused: 78 } as const

export const helpText = `config-manager: reads, checks, versions and safely writes the config files of a fleet of VMs over SSH.

  config-manager serve [--config FILE] [--insecure-http] [--no-auth] [--new-key]
      Runs the service.
      --insecure-http  listen beyond this machine without TLS
      --no-auth        listen beyond this machine without tokens: whoever reaches the service may use it
      --new-key        seal with another key than before

  config-manager check [--config FILE] [--insecure-http] [--no-auth]
      Says whether the service would start with these settings, schemas and keys, and what they come to.

  config-manager known-hosts scan [--config FILE] [VM_ID | HOST[:PORT] ...]
      Prints the host keys of VMs (all, where none is named), to be compared and then added to known_hosts.

  config-manager reindex [--config FILE]
      Makes the catalog anew from the backups; operations are kept. The service must not be running.
      Exit code 1: something is locked, damaged, missing or was put aside.

  config-manager verify [--config FILE] [--all | --sample PERCENT%]
      Opens the backups, all or some by chance, and holds them against the catalog. May run beside the service.
      Exit code 1: something is not as it should be.

  config-manager open BLOB [--key KEYFILE] > FILE
      Opens one sealed backup, wherever it stands, with nothing but its key: the bytes to stdout, what is known of them to
      stderr. The key is KEYFILE, or what CONFIG_MANAGER_BACKUP_KEY_PATH or CONFIG_MANAGER_BACKUP_PASSPHRASE say.

  config-manager rewrap [--config FILE]
      Moves all backups to the key that seals now, which may be a new one; older keys open them until then, and are not
      needed afterwards. May be ended at any time and called again. The service must not be running.

  config-manager restore-catalog [--config FILE] [--from PLACE]
      Brings everything home from the copies off this host (PLACE: a directory, user@host:/path or
      sftp://user@host:port/path, else backup_remote_path), and makes the catalog from it. What stands here whole stays.
      May be ended at any time and called again. The service must not be running.

  config-manager --help | --version

FILE: --config, else the environment variable CONFIG_MANAGER_CONFIG, else configs/config.yml.
serve, reindex, rewrap and restore-catalog need state_dir and backup_location for themselves; the other commands do not.
Exit codes: 1 it was done and not all is well, 64 a command line that is not understood, 78 settings, schemas, keys or
directories that are refused.
`

const options = {
  config: { type: "string", multiple: true },
  "insecure-http": { type: "boolean" },
  "no-auth": { type: "boolean" },
  "new-key": { type: "boolean" },
  key: { type: "string", multiple: true },
  all: { type: "boolean" },
  sample: { type: "string", multiple: true },
  from: { type: "string", multiple: true },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean" },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>["values"]

/** @param argv without the program's own name */
export function parseArguments(argv: readonly string[]): Command {
  let values: Values
  let positionals: readonly string[]
  try {
    ;({ values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true }))
  } catch (error) {
    return refused(error instanceof Error ? sentenceOf(error.message) : "The command line cannot be read.")
  }
  if (values.help) return { command: "help" }
  if (values.version) return { command: "version" }
  for (const [flag, what] of [
    ["config", "FILE"],
    ["key", "KEYFILE"],
    ["sample", "PERCENT%"],
    ["from", "PLACE"],
  ] as const) {
    const given = values[flag]
    if (given && (given.length > 1 || given[0] === "")) return refused(`--${flag} takes one ${what}, once.`)
  }
  return commandOf(positionals, values)
}

/** Who takes a flag. */
const owners: Readonly<Record<Exclude<keyof typeof options, "help" | "version">, readonly string[]>> = {
  config: ["serve", "check", "known-hosts", "reindex", "verify", "rewrap", "restore-catalog"],
  "insecure-http": ["serve", "check"],
  "no-auth": ["serve", "check"],
  "new-key": ["serve"],
  key: ["open"],
  all: ["verify"],
  sample: ["verify"],
  from: ["restore-catalog"],
}

function commandOf([name, ...rest]: readonly string[], values: Values): Command {
  if (name === undefined) return refused("No command is given.")
  if (!Object.values(owners).some((commands) => commands.includes(name)))
    return refused(`There is no command ${quoted(name)}.`)
  const file = values.config?.[0] ?? null
  const [first, second] = rest
  if (name === "known-hosts" && first !== "scan") {
    return refused(`known-hosts knows scan only${first === undefined ? "" : `, not ${quoted(first)}`}.`)
  }
  const stray = (Object.keys(owners) as (keyof typeof owners)[]).find((flag) => {
    return values[flag] !== undefined && !owners[flag].includes(name)
  })
  if (stray) return refused(`--${stray} is for ${owners[stray].join(" and ")} only.`)
  if (name === "known-hosts") return { command: "known-hosts scan", file, targets: rest.slice(1) }
  if (name === "open") {
    if (first === undefined || first === "" || first === "-") return refused("open takes the file of one BLOB.")
    if (second !== undefined) return refused(`open takes one BLOB, and no argument ${quoted(second)}.`)
    return { command: "open", blob: first, key: values.key?.[0] ?? null }
  }
  if (first !== undefined) return refused(`${name} takes no argument ${quoted(first)}.`)
  if (name === "reindex" || name === "rewrap") return { command: name, file }
  if (name === "restore-catalog") return { command: name, file, from: values.from?.[0] ?? null }
  if (name === "verify") return verifyOf(file, values)
  const { newKey, ...flags } = serveFlags(values)
  return name === "check" ? { command: "check", file, ...flags } : { command: "serve", file, newKey, ...flags }
}

function verifyOf(file: string | null, { all, sample }: Values): Command {
  const text = sample?.[0]
  if (all && text !== undefined) return refused("verify takes --all or --sample, not both.")
  if (text === undefined) return { command: "verify", file, share: 1 }
  const percent = /^\d{1,3}(\.\d{1,6})?%$/.test(text) ? Number.parseFloat(text) : 0
  if (percent <= 0 || percent > 100) return refused("--sample takes a percentage above 0%, such as 5%.")
  return { command: "verify", file, share: percent / 100 }
}

function serveFlags(values: Values): { insecureHttp: boolean; noAuth: boolean; newKey: boolean } {
  return {
    insecureHttp: values["insecure-http"] ?? false,
    noAuth: values["no-auth"] ?? false,
    newKey: values["new-key"] ?? false,
  }
}

function refused(message: string): Command {
  return { command: "refused", message: `${message} See config-manager --help.` }
}

/** The first sentence of Node's own message, which goes on with advice that does not fit here. */
function sentenceOf(message: string): string {
  const [first = message] = message.split(/\. |\n/)
  return `${first.replace(/\.$/, "")}.`
}

function quoted(text: string | undefined): string {
  return JSON.stringify((text ?? "").slice(0, 80))
}
