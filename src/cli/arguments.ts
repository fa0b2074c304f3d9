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

  config-manager --help | --version

FILE: --config, else the environment variable CONFIG_MANAGER_CONFIG, else configs/config.yml.
Exit codes: 64 a command line that is not understood, 78 settings, schemas or keys that are refused.
`

const options = {
  config: { type: "string", multiple: true },
  "insecure-http": { type: "boolean" },
  "no-auth": { type: "boolean" },
  "new-key": { type: "boolean" },
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
  if (values.config && (values.config.length > 1 || values.config[0] === ""))
    return refused("--config takes one FILE, once.")
  return commandOf(positionals, values)
}

function commandOf(positionals: readonly string[], values: Values): Command {
  const [name, ...rest] = positionals
  const file = values.config?.[0] ?? null
  if (name === undefined) return refused("No command is given.")
  if (name === "serve") {
    if (rest.length > 0) return refused(`serve takes no argument ${quoted(rest[0])}.`)
    return { command: "serve", file, ...serveFlags(values) }
  }
  const stray = (["insecure-http", "no-auth", "new-key"] as const).find((flag) => values[flag])
  if (name === "check") {
    if (rest.length > 0) return refused(`check takes no argument ${quoted(rest[0])}.`)
    const { newKey, ...flags } = serveFlags(values)
    return newKey ? refused("--new-key is for serve only.") : { command: "check", file, ...flags }
  }
  if (name !== "known-hosts") return refused(`There is no command ${quoted(name)}.`)
  const [verb, ...targets] = rest
  if (verb !== "scan")
    return refused(`known-hosts knows scan only${verb === undefined ? "" : `, not ${quoted(verb)}`}.`)
  return stray ? refused(`--${stray} is for serve only.`) : { command: "known-hosts scan", file, targets }
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
