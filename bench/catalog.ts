import { join } from "node:path"
import Database from "better-sqlite3"
import { type Home, makeHome } from "../test/support/service.ts"
import { idleSettings } from "./http.ts"
import { Lane, requestOf } from "./load.ts"
import { type Latency, latenciesOf, type Part } from "./measure.ts"
import { type Server, startHello, startService } from "./process.ts"
import { ratesOf, rateTable } from "./rates.ts"

const small = 10_000
const large = 1_000_000
const vms = 100
/** What is asked for in turns. Pages and ids are too many for the catalog to know that they were asked for (sqlite/read-cache.ts). */
const places = { known: 500, pages: 2_000, ids: 20_000 }
const accept = "application/json"

/** Lists and look-ups over many versions. */
export async function benchCatalog(): Promise<Part> {
  const few = await fleetOf(small)
  const many = await fleetOf(large)
  const hello = await startHello(many.home, join(many.home.state, "catalog.db"))
  const pages = await latencies(few, many)
  await few.service.stop()
  const rates = await ratesOf(contenders(hello, many.service))
  await many.service.stop()
  await hello.stop()
  for (const { home } of [few, many]) await home.remove()
  return { figures: { pages, rates }, table: [rateTable(rates), "", growthTable(pages)].join("\n") }
}

interface Fleet {
  readonly home: Home
  readonly service: Server
  readonly count: number
}

/** A service over so many versions. */
async function fleetOf(count: number): Promise<Fleet> {
  const home = await makeHome({ settings: idleSettings })
  const service = await startService(home)
  // Behind the running service: at a start it would look for the blobs, and these versions have none.
  fill(home, count)
  return { home, service, count }
}

function contenders(hello: Server, service: Server) {
  const listing = (path: string): readonly Buffer[] => [requestOf("GET", path, accept)]
  const anywhere = (count: number, path: (number: number) => string): readonly Buffer[] =>
    Array.from({ length: count }, (_, i) => requestOf("GET", path(spread(i)), accept))
  const byId = (number: number): string => `/backups/${idOf(number)}`
  const runs = 5_000
  const bare = { server: hello, name: "- bare Fastify and better-sqlite3" }
  return [
    { name: "hello world", server: hello, requests: listing("/"), runs: 20_000 },
    {
      name: "one version by id, read before",
      server: service,
      requests: anywhere(places.known, byId),
      runs: 20_000,
      goal: 0.55,
    },
    {
      name: "one version by id, another each time",
      server: service,
      // None of those that were read before.
      requests: anywhere(places.known + places.ids, byId).slice(places.known),
      runs: 20_000,
    },
    { ...bare, requests: anywhere(places.ids, (number) => `/versions/${idOf(number)}`), runs: 20_000 },
    {
      name: "50 of 1 000 000, the newest, read before",
      server: service,
      requests: listing("/backups?limit=50"),
      runs,
      goal: 0.25,
    },
    { ...bare, requests: listing(`/versions?before=${large + 1}`), runs },
    { name: "50 of one VM, read before", server: service, requests: listing("/backups?limit=50&vmId=vm07"), runs },
    {
      name: "50 of 1 000 000, another place each time",
      server: service,
      requests: anywhere(places.pages, (number) => `/backups?limit=50&cursor=${cursorAt(number)}`),
      runs,
    },
    { ...bare, requests: anywhere(places.pages, (number) => `/versions?before=${number}`), runs },
  ]
}

/** Enters versions in the order in which they were made, one config per VM, a second apart. */
function fill(home: Home, count: number): void {
  const db = new Database(join(home.state, "catalog.db"))
  const known = new Set(db.prepare<[], string>("SELECT name FROM pragma_table_info('versions')").pluck().all())
  const time = (number: string): string =>
    `strftime('%Y-%m-%dT%H:%M:%fZ', 'now', 'start of day', printf('%d seconds', ${number} - ${count}))`
  const values = Object.entries({
    seq: "i",
    backup_id: "printf('019b7c1e-2f4e-7000-8000-%012d', i)",
    vm_id: `printf('vm%02d', i % ${vms})`,
    type: "'app'",
    path: "'/opt/th_timmy/configs/app.yml'",
    valid_from: time("i"),
    superseded_at: `iif(i + ${vms} > ${count}, NULL, ${time(`(i + ${vms})`)})`,
    size: "4096",
    digest: "printf('%064x', i)",
    mode: "416",
    uid: "0",
    gid: "0",
    trigger: "'written'",
    reason: "'ticket ' || i",
    actor: "'anonymous'",
    operation_id: "printf('019b7c1e-2f4e-7000-9000-%012d', i)",
    key_id: "printf('%032x', 7)",
    format: "'cmb1'",
  }).filter(([column]) => known.has(column))
  const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`
  const columns = values.map(([column]) => column).join(", ")
  db.exec(`INSERT INTO versions (${columns}) ${numbers} SELECT ${values.map(([, sql]) => sql).join(", ")} FROM n`)
  db.pragma("wal_checkpoint(TRUNCATE)")
  db.close()
}

/** Times of one page of 50: the newest, the oldest, one VM's; each read anew, as after a change. */
async function latencies(few: Fleet, many: Fleet) {
  const runs = 1_000
  const lanes: Lane[] = []
  const pagesOf = async ({ service, count }: Fleet) => {
    const lane = await Lane.open(service.url)
    lanes.push(lane)
    const ask = async (query: string): Promise<void> => {
      const { status, body } = await lane.send(requestOf("GET", `/backups?limit=50&${query}`, accept))
      if (status !== 200 || !body.includes('"nextCursor"')) throw new Error(`${status}: ${body}`)
    }
    const vm = (index: number): string => `vmId=vm${String(index % vms).padStart(2, "0")}`
    // Another place for each call, near the end that is meant: a page that is known already costs nothing.
    return {
      newest: { runs, work: (index: number) => ask(`cursor=${cursorAt(count - index)}`) },
      oldest: { runs, work: (index: number) => ask(`cursor=${cursorAt(60 + index)}`) },
      oneVm: { runs, work: (index: number) => ask(`${vm(index)}&cursor=${cursorAt(count - index)}`) },
    }
  }
  const [ofFew, ofMany] = [await pagesOf(few), await pagesOf(many)]
  const found = await latenciesOf({
    ...{ newestOfFew: ofFew.newest, newest: ofMany.newest },
    ...{ oldestOfFew: ofFew.oldest, oldest: ofMany.oldest },
    ...{ oneVmOfFew: ofFew.oneVm, oneVm: ofMany.oneVm },
  })
  for (const lane of lanes) lane.close()
  return found
}

type Latencies = Awaited<ReturnType<typeof latencies>>

function growthTable(pages: Latencies): string {
  const row = (text: string, few: Latency, many: Latency): string => {
    const growth = many.medianMs / few.medianMs
    return `| ${[text, few.medianMs.toFixed(2), many.medianMs.toFixed(2), `${growth.toFixed(2)} x`].join(" | ")} |`
  }
  return [
    "| 50 versions, median ms | of 10 000 | of 1 000 000 | growth (goal: <= 1.3 x) |",
    "| --- | --- | --- | --- |",
    row("the newest", pages.newestOfFew, pages.newest),
    row("the oldest", pages.oldestOfFew, pages.oldest),
    row("of one VM", pages.oneVmOfFew, pages.oneVm),
    "",
    `The last page takes ${(pages.oldest.medianMs / pages.newest.medianMs).toFixed(2)} x the time of the first (goal: <= 1.5 x).`,
  ].join("\n")
}

/** Numbers from all over the catalog, each once. */
function spread(index: number): number {
  return 100 + ((index * 7_919) % (large - 200))
}

function idOf(number: number): string {
  return `019b7c1e-2f4e-7000-8000-${String(number).padStart(12, "0")}`
}

/** As the catalog makes it (sqlite/cursor.ts). */
function cursorAt(seq: number): string {
  return Buffer.from(`versions seq ${seq}  `).toString("base64url")
}
