import { createHash } from "node:crypto"
import { Fault } from "../domain/fault.ts"
import type { HostKeys } from "./known-hosts.ts"

/** Key types that we take, best first, with the signature algorithms of each. No SHA-1, no DSA. */
const signatures: Readonly<Record<string, readonly string[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
}

/** A host as its key is known by. */
export interface Host {
  /** For sentences, e.g. `VM "vm01" (10.0.0.10:22)`. */
  readonly whom: string
  readonly host: string
  readonly port: number
  /** `SHA256:...`; empty: known_hosts decides. */
  readonly pinned: readonly string[]
}

/** What is believed of one host's key. */
export interface HostTrust {
  /** What may be negotiated: cut to the key types that are known, or a good host would look attacked. */
  readonly algorithms: readonly string[]
  /** @returns null for the key that is trusted, else the fault that says why not. Nothing is sent before it is asked. */
  judge(key: Buffer): Fault | null
  /** A pin does not tell its key's type: what to ask for after `key` was not it; null: nothing is left to ask for. */
  after(key: Buffer): HostTrust | null
}

/** The one place that decides whether a host key is trusted. @throws {Fault} `host_key_unknown` for a certificate authority */
export function trustFor(host: Host, known: HostKeys, knownHostsPath: string): HostTrust {
  const revoked = (key: Buffer) => known.revoked.some((each) => each.equals(key))
  if (host.pinned.length > 0) return pinnedTrust(host, revoked, Object.keys(signatures))
  if (known.certAuthority) {
    throw new Fault(
      "host_key_unknown",
      `known_hosts trusts a certificate authority for ${host.whom}, which this service does not support: ` +
        `add the host's own key to ${knownHostsPath}, or pin it with host_key.`,
    )
  }
  return knownTrust(host, known, revoked, knownHostsPath)
}

function pinnedTrust(host: Host, revoked: (key: Buffer) => boolean, types: readonly string[]): HostTrust {
  return {
    algorithms: algorithmsOf(types),
    judge: (key) => {
      if (revoked(key)) return revokedFault(host, key)
      if (host.pinned.includes(fingerprintOf(key))) return null
      return mismatch(host, key, "the settings pin another one (host_key)")
    },
    after: (key) => {
      const rest = types.filter((type) => type !== typeOf(key))
      return rest.length === 0 || rest.length === types.length || revoked(key) ? null : pinnedTrust(host, revoked, rest)
    },
  }
}

function knownTrust(host: Host, known: HostKeys, revoked: (key: Buffer) => boolean, path: string): HostTrust {
  const usable = known.keys.filter((key) => Object.hasOwn(signatures, key.type))
  const types = usable.length > 0 ? [...new Set(usable.map((key) => key.type))] : Object.keys(signatures)
  return {
    algorithms: algorithmsOf(types),
    judge: (key) => {
      if (revoked(key)) return revokedFault(host, key)
      if (usable.some((each) => each.blob.equals(key))) return null
      if (usable.length > 0) return mismatch(host, key, `${path} knows another one`)
      return new Fault(
        "host_key_unknown",
        `The host key of ${host.whom} is not known. It shows ${shown(key)}; if that is right, add it to ${path} ` +
          `("config-manager known-hosts scan" prints the line).`,
      )
    },
    after: () => null,
  }
}

/** @param trust whose algorithms the host has none of */
export function noSuchKeyFault(host: Host, trust: HostTrust): Fault {
  return new Fault(
    "host_key_mismatch",
    `${host.whom} shows none of the host keys that are known for it (${trust.algorithms.join(", ")}): ` +
      "it has got other ones, or another host answers in its place.",
  )
}

function algorithmsOf(types: readonly string[]): readonly string[] {
  const order = Object.keys(signatures)
  return [...types].sort((a, b) => order.indexOf(a) - order.indexOf(b)).flatMap((type) => signatures[type] ?? [])
}

function mismatch(host: Host, key: Buffer, known: string): Fault {
  return new Fault(
    "host_key_mismatch",
    `The host key of ${host.whom} is not the one that is known: it shows ${shown(key)}, and ${known}. ` +
      "Either the host was set up anew, or another host answers in its place.",
  )
}

function revokedFault(host: Host, key: Buffer): Fault {
  return new Fault("host_key_mismatch", `The host key of ${host.whom} is revoked in known_hosts: ${shown(key)}.`)
}

function shown(key: Buffer): string {
  return `${typeOf(key)} ${fingerprintOf(key)}`
}

/** As `ssh-keygen -l` prints it. */
function fingerprintOf(key: Buffer): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`
}

/** The first string of a public key (RFC 4253, 6.6). */
function typeOf(key: Buffer): string {
  return key.length < 4 ? "" : key.toString("latin1", 4, 4 + key.readUInt32BE(0))
}
