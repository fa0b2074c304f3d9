import type { Database, Statement } from "better-sqlite3"
import type { JsonPage, PageRequest } from "../domain/catalog.ts"
import { decodeCursor, encodeCursor, type Order, start } from "./cursor.ts"

/** How one combination of filters is answered. */
export interface ListPlan {
  /** The index that finds the rows in order: named in the statement, so that a lack of statistics can never make it a scan. */
  readonly index: string
  readonly order: Order
  /** SQL over named parameters: they must hold, too. */
  readonly conditions: readonly string[]
}

export interface ListTable {
  readonly name: string
  readonly timeColumn: string
  /** The expression that gives a row's JSON. */
  readonly json: string
}

/** The rows of the table itself, in their order of entry. */
export const rowOrder = "NOT INDEXED"

type Parameters = Readonly<Record<string, string | number>>

/** Newest first, by keyset: a page costs the same wherever it stands. Statements are prepared once per combination of filters. */
export class KeysetList {
  readonly #db: Database
  readonly #table: ListTable
  readonly #statements = new Map<string, Statement<[Parameters]>>()

  constructor(db: Database, table: ListTable) {
    this.#db = db
    this.#table = table
  }

  /** @throws {Fault} `invalid_parameter` */
  page(plan: ListPlan, parameters: Parameters, { limit, cursor }: PageRequest): JsonPage {
    const { name } = this.#table
    const after = cursor === null ? start : decodeCursor(name, plan.order, cursor)
    // One more than asked for tells whether there is a next page.
    const rows = this.#statement(plan).all({ ...parameters, ...after, limit: limit + 1 }) as [number, string, string][]
    const shown = rows.slice(0, limit)
    const last = shown.at(-1)
    const nextCursor =
      last && rows.length > limit ? encodeCursor(name, plan.order, { seq: last[0], time: last[1] }) : null
    return { items: `[${shown.map(([, , json]) => json).join(",")}]`, nextCursor }
  }

  #statement(plan: ListPlan): Statement<[Parameters]> {
    const sql = listSql(this.#table, plan)
    const known = this.#statements.get(sql)
    if (known) return known
    const statement = this.#db.prepare<[Parameters]>(sql).raw()
    this.#statements.set(sql, statement)
    return statement
  }
}

export function listSql({ name, timeColumn, json }: ListTable, { index, order, conditions }: ListPlan): string {
  const source = index === rowOrder ? `${name} ${rowOrder}` : `${name} INDEXED BY ${index}`
  const after = order === "seq" ? "seq < @seq" : `(${timeColumn}, seq) < (@time, @seq)`
  const sorting = order === "seq" ? "seq DESC" : `${timeColumn} DESC, seq DESC`
  return (
    `SELECT seq, ${timeColumn}, ${json} FROM ${source} ` +
    `WHERE ${[after, ...conditions].join(" AND ")} ORDER BY ${sorting} LIMIT @limit`
  )
}
