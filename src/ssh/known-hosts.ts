import { createHmac } from "node:crypto"
import { constants } from "node:fs"
import { open } from "node:fs/promises"
import { Fault } from "../domain/fault.ts"

/** What known_hosts says of one address. */
export interface HostKeys {
  /** `blob`: the public key as it comes over the wire. In the order of the file. */
  readonly keys: readonly { readonly type: string; readonly blob: Buffer }[]
  /** Keys that must be refused even where `keys` has them. */
  readonly revoked: readonly Buffer[]
  /** Whether a matching line names a certificate authority. */
  readonly certAuthority: boolean
}

/** A line that was ignored. */
export interface KnownHostsProblem {
  /** From 1. */
  readonly line: number
  readonly message: string
}

interface Entry {
  readonly marker: "" | "@revoked" | "@cert-authority"
  /** Whether the line is about a name, which is in lower case and bracketed where the port is not 22. */
  readonly matches: (name: string) => boolean
  readonly type: string
  readonly blob: Buffer
}

const markers: readonly string[] = ["@revoked", "@cert-authority"]
const maxFileBytes = 16 * 1024 * 1024
const maxCachedFiles = 16
const maxRememberedNames = 4096

/**
 * A known_hosts file of OpenSSH (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; hostfile.c decides where the page is silent).
 * As there, a line that cannot be understood is ignored: it can only make a host unknown, never trusted.
 */
export class KnownHosts {
  readonly problems: readonly KnownHostsProblem[]
  readonly #entries: readonly Entry[]
  /** A hashed line costs an HMAC for each name that is looked up: 10 000 of them 0.2 s of the event loop. */
  readonly #remembered = new Map<string, HostKeys>()

  private constructor(entries: readonly Entry[], problems: readonly KnownHostsProblem[]) {
    this.#entries = entries
    this.problems = problems
  }

  /** Never fails: see `problems`. */
  static parse(text: string): KnownHosts {
    const entries: Entry[] = []
    const problems: KnownHostsProblem[] = []
    text.split("\n").forEach((raw, index) => {
      const line = raw.replace(/^[ \t]+|[ \t\r]+$/g, "")
      if (line === "" || line.startsWith("#")) return
      const parsed = parseLine(line)
      if (typeof parsed === "string") problems.push({ line: index + 1, message: parsed })
      else entries.push(parsed)
    })
    return new KnownHosts(entries, problems)
  }

  /**
   * The file as it is now; parsed anew only when it has changed.
   * @returns no hosts where there is no file, or a device such as /dev/null
   * @throws {Fault} `host_key_unknown` when it cannot be read
   */
  static async read(path: string): Promise<KnownHosts> {
    try {
      return await readCached(path)
    } catch (error) {
      if (codeOf(error) === "ENOENT") return new KnownHosts([], [])
      const reason = error instanceof UnfitFile ? error.message : `cannot be read (${codeOf(error)})`
      throw new Fault("host_key_unknown", `No host key can be checked: the known_hosts file ${path} ${reason}.`, {
        cause: error,
      })
    }
  }

  /** What the file says of a host. For a port other than 22 only patterns of the form `[host]:port` count, and wildcards over it. */
  match(host: string, port: number): HostKeys {
    const name = port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`
    const remembered = this.#remembered.get(name)
    if (remembered) return remembered
    const found = this.#find(name)
    if (this.#remembered.size >= maxRememberedNames) this.#remembered.clear()
    this.#remembered.set(name, found)
    return found
  }

  #find(name: string): HostKeys {
    const found = this.#entries.filter((entry) => entry.matches(name))
    return {
      keys: found.filter(({ marker }) => marker === "").map(({ type, blob }) => ({ type, blob })),
      revoked: found.filter(({ marker }) => marker === "@revoked").map(({ blob }) => blob),
      certAuthority: found.some(({ marker }) => marker === "@cert-authority"),
    }
  }
}

/** `[marker] names type key [comment]`; a sentence says what is wrong. */
function parseLine(line: string): Entry | string {
  const words = line.split(/[ \t]+/)
  const marker = line.startsWith("@") ? (words.shift() ?? "") : ""
  if (!isMarker(marker)) return "The marker is neither @revoked nor @cert-authority."
  const [names = "", type = "", key = ""] = words
  if (key === "") return "Names, key type and key are expected."
  const blob = decodeBase64(key)
  if (!blob) return "The key is not base64."
  if (typeOfBlob(blob) !== type) return "The key is not of the type that the line says."
  const matches = names.startsWith("|") ? hashedName(names) : patternList(names)
  if (!matches) return "The hashed name is not of the form |1|salt|hash."
  return { marker, matches, type, blob }
}

function isMarker(word: string): word is Entry["marker"] {
  return word === "" || markers.includes(word)
}

/** `|1|salt|hash`: HMAC-SHA1 of the name, both base64 of 20 bytes; one name only, no wildcards. */
function hashedName(text: string): Entry["matches"] | null {
  const [, version, saltText = "", hashText = "", ...rest] = text.split("|")
  const salt = decodeBase64(saltText)
  const hash = decodeBase64(hashText)
  if (version !== "1" || rest.length > 0 || salt?.length !== 20 || hash?.length !== 20) return null
  return (name) => createHmac("sha1", salt).update(name).digest().equals(hash)
}

/** Comma list of patterns with `*`, `?`; a `!pattern` that matches rules the whole line out. */
function patternList(text: string): Entry["matches"] {
  const patterns = text.toLowerCase().split(",")
  const positive = patterns.filter((pattern) => !pattern.startsWith("!"))
  const negative = patterns.filter((pattern) => pattern.startsWith("!")).map((pattern) => pattern.slice(1))
  return (name) =>
    !negative.some((pattern) => matchPattern(name, pattern)) && positive.some((pattern) => matchPattern(name, pattern))
}

/** `*` is any number of characters, `?` is one. Steps back to the last `*` only, so its time is bounded by the product of the lengths. */
function matchPattern(name: string, pattern: string): boolean {
  let n = 0
  let p = 0
  let star = -1
  let starAt = 0
  while (n < name.length) {
    if (pattern[p] === "*") {
      star = p++
      starAt = n
    } else if (pattern[p] === "?" || pattern[p] === name[n]) {
      n++
      p++
    } else if (star >= 0) {
      p = star + 1
      n = ++starAt
    } else {
      return false
    }
  }
  while (pattern[p] === "*") p++
  return p === pattern.length
}

function decodeBase64(text: string): Buffer | null {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, "base64") : null
}

/** A key blob begins with its own type as an SSH string (RFC 4253, 6.6). */
function typeOfBlob(blob: Buffer): string | null {
  if (blob.length < 4) return null
  const end = 4 + blob.readUInt32BE(0)
  return end < blob.length ? blob.toString("latin1", 4, end) : null
}

/** A path that leads to something that is no known_hosts file. */
class UnfitFile extends Error {}

const cache = new Map<string, { readonly stamp: string; readonly hosts: KnownHosts }>()

async function readCached(path: string): Promise<KnownHosts> {
  // Without O_NONBLOCK a FIFO would hold the open for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = await file.stat({ bigint: true })
    if (stat.isCharacterDevice()) return KnownHosts.parse("")
    if (!stat.isFile()) throw new UnfitFile("is not a regular file")
    if (stat.size > maxFileBytes) throw new UnfitFile(`is larger than ${maxFileBytes} bytes`)

    const stamp = [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(":")
    const known = cache.get(path)
    cache.delete(path)
    const hosts = known?.stamp === stamp ? known.hosts : KnownHosts.parse(await file.readFile("utf8"))
    // The map keeps the order of insertion: the file that was not asked for longest goes first.
    cache.set(path, { stamp, hosts })
    for (const oldest of cache.keys()) {
      if (cache.size <= maxCachedFiles) break
      cache.delete(oldest)
    }
    return hosts
  } finally {
    await file.close()
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error"
}
