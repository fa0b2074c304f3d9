import { createHash } from "node:crypto"
import type { Journal, Operation, Phase } from "../domain/operation.ts"

type Owner = Pick<Operation, "operationId" | "vmId" | "type">
type Written = Omit<Journal, "phase">

/** A record, so that a phase that is added does not compile without its place here. */
const phases: Readonly<Record<Phase, true>> = {
  prepared: true,
  kept: true,
  swapping: true,
  swapped: true,
  rolling_back: true,
  tidying: true,
  done: true,
}

/** An operation's journal as it is kept, but for its phase: with a check value, since files on a VM are removed by it. */
export function journalText(owner: Owner, { phase: _, ...written }: Journal): string {
  return JSON.stringify({ ...written, check: checkOf(owner, written) })
}

export function readJournal(phase: Phase, text: string): Journal {
  const { check: _, ...written } = JSON.parse(text) as Written & { readonly check?: string }
  return { phase, ...written }
}

/**
 * Whether a journal can be what was written for this operation. One that cannot is not acted on: a path with a flipped bit
 * names another file. Journals from before there was a check value are held against themselves only.
 */
export function isBelieved(owner: Owner, phase: string, text: string): boolean {
  const value = parse(text)
  if (value === null || !Object.hasOwn(phases, phase)) return false
  const { check, ...written } = value
  if (!isJournal(written)) return false
  return namesFit(owner, written) && (check === undefined || check === checkOf(owner, written))
}

function checkOf({ operationId, vmId, type }: Owner, written: Written): string {
  return createHash("sha256")
    .update(JSON.stringify([operationId, vmId, type, written]))
    .digest("hex")
    .slice(0, 16)
}

function namesFit({ operationId }: Owner, { path, stagingPath, oldPath }: Written): boolean {
  if (stagingPath === "" && oldPath === "") return true
  return stagingPath === `${path}.${operationId}.new` && oldPath === `${path}.${operationId}.old`
}

function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

const isText = (value: unknown): boolean => typeof value === "string"
const isTextOrNull = (value: unknown): boolean => value === null || typeof value === "string"
const isNatural = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isNaturalOrNull = (value: unknown): boolean => value === null || isNatural(value)
const isSwitch = (value: unknown): boolean => typeof value === "boolean"

/** Members that every journal has, and such as later versions have added; there may be others. */
const members: Readonly<Record<keyof Written, (value: unknown) => boolean>> = {
  path: isText,
  stagingPath: isText,
  oldPath: isText,
  mode: isNatural,
  uid: isNaturalOrNull,
  gid: isNaturalOrNull,
  madeFoundId: isTextOrNull,
  madeWrittenId: isTextOrNull,
  keepVersions: isSwitch,
  become: isSwitch,
  sftpServer: isTextOrNull,
  maxBytes: isNatural,
  before: (value) => value === null || isAttributes(value),
  address: (value) => value === undefined || isAddress(value),
}

function isJournal(value: Record<string, unknown>): value is Record<string, unknown> & Written {
  return Object.entries(members).every(([name, fits]) => fits(value[name]))
}

function isAddress(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false
  const { host, port, user, proxyJump } = value as Record<string, unknown>
  const isWay = proxyJump === undefined || proxyJump === null || isJump(proxyJump)
  return isText(host) && isNatural(port) && (user === undefined || isText(user)) && isWay
}

function isJump(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false
  const { user, host, port } = value as Record<string, unknown>
  return isText(user) && isText(host) && isNatural(port)
}

function isAttributes(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false
  const { mode, uid, gid } = value as Record<string, unknown>
  return [mode, uid, gid].every(isNatural)
}
