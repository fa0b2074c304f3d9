import { isDeepStrictEqual } from "node:util"
import type { Inventory } from "../domain/inventory.ts"
import type { OpenOperation } from "../domain/operation.ts"
import type { OpenOptions } from "../domain/transport.ts"

/** How the files of a type are reached. */
export type Rights = Pick<OpenOptions, "become" | "sftpServer">

/**
 * The rights to try in turn for what is open of a push: those that it began with, and today's of its type where they are others. That
 * the settings were changed may be since those do not get through any more.
 */
export function rightsFor({ operation, journal }: OpenOperation, { types }: Inventory): readonly [Rights, ...Rights[]] {
  const then = rightsOf(journal)
  const type = types.find(({ type }) => type === operation.type)
  return !type || isDeepStrictEqual(rightsOf(type), then) ? [then] : [then, rightsOf(type)]
}

function rightsOf({ become, sftpServer }: Rights): Rights {
  return { become, sftpServer }
}
