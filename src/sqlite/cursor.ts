import { Fault } from "../domain/fault.ts"

/** What a list is sorted by, newest first: the order of entry, or a time and then the order of entry. */
export type Order = "seq" | "time"

/** A place in a list: the row it follows. */
export interface Position {
  readonly seq: number
  readonly time: string
}

/** Before every row. */
export const start: Position = { seq: Number.MAX_SAFE_INTEGER, time: "~" }

const textPattern = /^[a-z]+ [a-z]+ (\d{1,16}) ((?:\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z)?) ([0-9a-f]{0,16})$/

/** The list that a cursor is of: one of another list is none of it. */
export interface Walk {
  readonly list: string
  readonly order: Order
  /** Another one once rows may have got other numbers. */
  readonly epoch: string
  /** Whether a row still has its number. */
  readonly stands: (position: Position) => boolean
}

export function encodeCursor({ list, order, epoch }: Omit<Walk, "stands">, { seq, time }: Position): string {
  return Buffer.from(`${list} ${order} ${seq} ${time} ${epoch}`).toString("base64url")
}

/** @throws {Fault} `invalid_parameter` for anything that `encodeCursor` did not make for this list, order and epoch */
export function decodeCursor(walk: Walk, cursor: string): Position {
  const text = Buffer.from(cursor, "base64url").toString("latin1")
  const [, seq, time = "", epoch = ""] = textPattern.exec(text) ?? []
  const position = { seq: Number(seq), time }
  // Written again it must be the same text: base64url has several for one, and another list or order has its own.
  if (!Number.isSafeInteger(position.seq) || encodeCursor({ ...walk, epoch }, position) !== cursor) {
    throw new Fault("invalid_parameter", "cursor: take it from nextCursor of the page before, with the same filters.")
  }
  // A row that kept its number has kept all in front of it. Where the order is that of time, numbers hardly matter.
  if (walk.order === "time" || epoch === walk.epoch || walk.stands(position)) return position
  throw new Fault(
    "invalid_parameter",
    "cursor: the list was put in order anew since it was given, and goes on elsewhere; begin at its first page.",
  )
}
