import type { Database } from "better-sqlite3"
import type { Departure, ExpiredVersions, Totals } from "../domain/catalog.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import type { VersionState } from "../domain/version.ts"

type Expired = ExpiredVersions["versions"][number]

/** The statements of retention and of what is known of the catalog as a whole. */
export class RetentionTables {
  readonly #statements: ReturnType<typeof prepare>

  constructor(db: Database) {
    this.#statements = prepare(db)
  }

  expired(cutoff: string, limit: number, how?: "uncounted"): ExpiredVersions {
    const { superseded, supersededCount, departed } = this.#statements
    // The newest versions of departed configs are few: as many as such configs.
    const left = departed.all({ cutoff })
    const versions = [...superseded.all({ cutoff, limit }), ...left].slice(0, limit)
    const total = how ? versions.length : (supersededCount.get({ cutoff }) ?? 0) + left.length
    return { versions, total }
  }

  departures(): readonly Departure[] {
    return this.#statements.departures.all()
  }

  noteDeparture({ vmId, type, leftAt }: ConfigRef & { readonly leftAt: string | null }): void {
    if (leftAt === null) this.#statements.come.run(vmId, type)
    else this.#statements.leave.run(vmId, type, leftAt)
  }

  totals(): Totals {
    const { versions = 0, bytes = 0 } = this.#statements.totals.get() ?? {}
    const states = new Map(this.#statements.states.all().map(({ state, count }) => [state, count]))
    const of = (state: VersionState): number => states.get(state) ?? 0
    return { versions, bytes, damaged: of("damaged"), missing: of("missing"), locked: of("locked") }
  }

  fact(name: string): string | null {
    return this.#statements.fact.get(name) ?? null
  }

  setFact(name: string, value: string): void {
    this.#statements.setFact.run(name, value)
  }
}

function prepare(db: Database) {
  const named = "backup_id AS backupId, vm_id AS vmId, type, superseded_at AS supersededAt, format"
  // As `endOf` of the domain says: what has really taken its place.
  const isTaker = "(later.size IS NOT 0 OR later.trigger = 'written') AND later.state = 'ok'"
  const taker = `SELECT 1 FROM versions AS later INDEXED BY versions_config
    WHERE later.vm_id = versions.vm_id AND later.type = versions.type AND later.valid_from > versions.valid_from
      AND ${isTaker}`
  const lastTaker = `SELECT valid_from FROM versions AS later INDEXED BY versions_config
    WHERE later.vm_id = departures.vm_id AND later.type = departures.type AND ${isTaker}
    ORDER BY valid_from DESC LIMIT 1`
  const isSuperseded = `FROM versions INDEXED BY versions_expiry
    WHERE superseded_at <= @cutoff AND superseded_at IS NOT NULL AND pinned = 0
      AND EXISTS (${taker} AND later.valid_from <= @cutoff)`
  return {
    superseded: db.prepare<[{ readonly cutoff: string; readonly limit: number }], Expired>(
      `SELECT ${named} ${isSuperseded} ORDER BY superseded_at LIMIT @limit`,
    ),
    supersededCount: db.prepare<[{ readonly cutoff: string }], number>(`SELECT count(*) ${isSuperseded}`).pluck(),
    departed: db.prepare<[{ readonly cutoff: string }], Expired>(
      `SELECT backup_id AS backupId, vm_id AS vmId, type, NULL AS supersededAt, format
       FROM departures CROSS JOIN versions INDEXED BY versions_config USING (vm_id, type)
       WHERE left_at <= @cutoff AND coalesce(superseded_at, valid_from) <= @cutoff AND pinned = 0
         AND valid_from >= coalesce((${lastTaker}), '') ORDER BY left_at`,
    ),
    departures: db.prepare<[], Departure>("SELECT vm_id AS vmId, type, left_at AS leftAt FROM departures"),
    leave: db.prepare<[string, string, string]>("INSERT INTO departures VALUES (?, ?, ?) ON CONFLICT DO NOTHING"),
    come: db.prepare<[string, string]>("DELETE FROM departures WHERE vm_id = ? AND type = ?"),
    totals: db.prepare<[], { versions: number; bytes: number }>("SELECT versions, bytes FROM totals"),
    states: db.prepare<[], { state: VersionState; count: number }>(
      "SELECT state, count(*) AS count FROM versions INDEXED BY versions_state WHERE state <> 'ok' GROUP BY state",
    ),
    fact: db.prepare<[string], string>("SELECT value FROM facts WHERE name = ?").pluck(),
    setFact: db.prepare<[string, string]>(
      "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    ),
  }
}
