import type { Database, Statement } from "better-sqlite3"
import type { JsonPage, PageRequest } from "../domain/catalog.ts"
import { decodeCursor, encodeCursor, type Order, type Position, start, type Walk } from "./cursor.ts"

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

/** Of a table whose rows keep their numbers for good. */
const asGiven: Pick<Walk, "epoch" | "stands"> = { epoch: "", stands: () => true }

type Parameters = Readonly<Record<string, string | number>>

interface Statements {
  readonly ends: Statement<[Parameters], Position>
  readonly page: Statement<[Parameters], Buffer>
}

/** Newest first, by keyset: a page costs the same wherever it stands. Statements are prepared once per combination of filters. */
export class KeysetList {
  readonly #db: Database
  readonly #table: ListTable
  readonly #statements = new Map<string, Statements>()

  constructor(db: Database, table: ListTable) {
    this.#db = db
    this.#table = table
  }

  /** @throws {Fault} `invalid_parameter` */
  page(plan: ListPlan, parameters: Parameters, { limit, cursor }: PageRequest, numbering = asGiven): JsonPage {
    const walk = { list: this.#table.name, order: plan.order, ...numbering }
    const after = cursor === null ? start : decodeCursor(walk, cursor)
    const { ends, page } = this.#statementsOf(plan)
    const given = { ...parameters, ...after, limit }
    const [last, next] = ends.all(given)
    const nextCursor = last && next ? encodeCursor(walk, last) : null
    const json = page.get({ ...given, end: `],"nextCursor":${JSON.stringify(nextCursor)}}` })
    if (!json) throw new Error("an aggregate without a row")
    return { json, nextCursor }
  }

  #statementsOf(plan: ListPlan): Statements {
    const key = `${plan.index} ${plan.order} ${plan.conditions.join(" ")}`
    const known = this.#statements.get(key)
    if (known) return known
    const sql = listSql(this.#table, plan)
    const ends = this.#db.prepare<[Parameters], Position>(sql.ends)
    const page = this.#db.prepare<[Parameters], Buffer>(sql.page).pluck()
    this.#statements.set(key, { ends, page })
    return { ends, page }
  }
}

/**
 * `ends` finds the last row of a page and the one behind it, which tells that there is a next page. `page` gives all of its JSON
 * as one value of bytes: to make texts of its rows, and bytes of these texts again, takes longer than to read them.
 */
export function listSql(
  { name, timeColumn, json }: ListTable,
  { index, order, conditions }: ListPlan,
): { readonly ends: string; readonly page: string } {
  const source = index === rowOrder ? `${name} ${rowOrder}` : `${name} INDEXED BY ${index}`
  const after = order === "seq" ? "seq < @seq" : `(${timeColumn}, seq) < (@time, @seq)`
  const sorting = order === "seq" ? "seq DESC" : `${timeColumn} DESC, seq DESC`
  const rows = `FROM ${source} WHERE ${[after, ...conditions].join(" AND ")} ORDER BY ${sorting}`
  return {
    ends: `SELECT seq, ${timeColumn} AS time ${rows} LIMIT 2 OFFSET @limit - 1`,
    page:
      `SELECT CAST('{"items":[' || coalesce(group_concat(item, ','), '') || @end AS BLOB) ` +
      // A bare parameter there would have SQLite plan the statement anew each time it is bound.
      `FROM (SELECT ${json} AS item ${rows} LIMIT @limit + 0)`,
  }
}
