import Database from "better-sqlite3"
import { fastify } from "fastify"

/**
 * What the routes are measured against: Fastify with one route, its answer written by a response schema, and nothing else. Given a
 * catalog, it also has the least that can be done to answer from it: one statement, its JSON sent as it is. No log, no headers, no
 * metrics, nothing checked: what is missing to hello world there is SQLite's and the socket's.
 */
const app = fastify()
const response = { 200: { type: "object", properties: { hello: { type: "string" } } } }
app.get("/", { schema: { response } }, (_request, reply) => {
  reply.send({ hello: "world" })
})

const [catalog] = process.argv.slice(2)
if (catalog !== undefined) {
  const db = new Database(catalog, { readonly: true })
  db.pragma("cache_size = -32768")
  const one = db.prepare<[string], string>("SELECT json FROM versions WHERE backup_id = ?").pluck()
  app.get<{ Params: { id: string } }>("/versions/:id", (request, reply) => {
    reply.header("content-type", "application/json; charset=utf-8").send(one.get(request.params.id))
  })
  const page = db
    .prepare<[number], Buffer>(
      `SELECT CAST('{"items":[' || group_concat(json, ',') || ']}' AS BLOB)
       FROM (SELECT json FROM versions NOT INDEXED WHERE seq < ? ORDER BY seq DESC LIMIT 50)`,
    )
    .pluck()
  app.get<{ Querystring: { before: string } }>("/versions", (request, reply) => {
    reply.header("content-type", "application/json; charset=utf-8").send(page.get(Number(request.query.before)))
  })
}

process.stdout.write(`listening on ${await app.listen({ port: 0, host: "127.0.0.1" })}\n`)
process.once("SIGTERM", () => void app.close())
