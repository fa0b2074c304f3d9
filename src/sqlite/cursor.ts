import { Fault } from "../domain/fault.ts"

/** What a list is sorted by, newest first: the order of entry, or a time and then the order of entry. */
export type Order = "seq" | "time"

/** A place in a list: the row it follows. */
export interface Position {
  readonly seq: number
  /** Empty where the order is `seq`. */
  readonly time: string
}

/** Before every row. */
export const start: Position = { seq: Number.MAX_SAFE_INTEGER, time: "~" }

const textPattern = /^[a-z]+ [a-z]+ (\d{1,16}) ((?:\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z)?)$/

/** @param list the list's name: a cursor of another list is none of this one */
export function encodeCursor(list: string, order: Order, { seq, time }: Position): string {
  return Buffer.from(`${list} ${order} ${seq} ${order === "time" ? time : ""}`).toString("base64url")
}

/** @throws {Fault} `invalid_parameter` for anything that `encodeCursor` did not make for this list and order */
export function decodeCursor(list: string, order: Order, cursor: string): Position {
  const text = Buffer.from(cursor, "base64url").toString("latin1")
  const [, seq, time = ""] = textPattern.exec(text) ?? []
  const position = { seq: Number(seq), time }
  // Written again it must be the same text: base64url has several for one, and another list or order has its own.
  if (Number.isSafeInteger(position.seq) && encodeCursor(list, order, position) === cursor) return position
  throw new Fault("invalid_parameter", "cursor: take it from nextCursor of the page before, with the same filters.")
}
