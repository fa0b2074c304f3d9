import { isIP, isIPv6 } from "node:net"
import type { ProxyJump } from "../domain/vm.ts"

/** An IP address, or a host name (RFC 1123; a name of digits and dots only would be a broken address). */
export function isHost(text: string): boolean {
  if (isIP(text) !== 0) return true
  if (text.length > 253 || /^[0-9.]+$/.test(text)) return false
  return /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$/.test(
    text,
  )
}

/** Reads `user@host:port`, an IPv6 address in brackets; null: it is not one. */
export function parseProxyJump(text: string): ProxyJump | null {
  const found = /^([^\s@:[\]]{1,255})@(?:\[([^[\]]+)\]|([^[\]:@]+)):([0-9]{1,5})$/.exec(text)
  if (!found) return null
  const [, user, bracketed, plain, digits] = found
  const host = bracketed ?? plain
  const port = Number(digits)
  if (user === undefined || host === undefined || port < 1 || port > 65_535) return null
  if (bracketed === undefined ? !isHost(host) : !isIPv6(host)) return null
  return { user, host, port }
}

/** What a Host header may name, without its port, of a service that listens on `host`; null: anything, for others can reach it. */
export function allowedHostsOf(host: string): readonly string[] | null {
  if (!isLoopback(host)) return null
  const own = isIPv6(host) ? `[${host}]` : host
  return [...new Set(["localhost", "127.0.0.1", "[::1]", own.toLowerCase()])]
}

/** Whether only this machine can reach what listens on `host`. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, "")
  return (
    name === "localhost" ||
    name === "::1" ||
    name === "0:0:0:0:0:0:0:1" ||
    (isIP(name) === 4 && name.startsWith("127."))
  )
}
