import { fastify } from "fastify"

/** What the routes are measured against: Fastify with one route, its answer written by a response schema, and nothing else. */
const app = fastify()
const response = { 200: { type: "object", properties: { hello: { type: "string" } } } }
app.get("/", { schema: { response } }, (_request, reply) => {
  reply.send({ hello: "world" })
})
process.stdout.write(`listening on ${await app.listen({ port: 0, host: "127.0.0.1" })}\n`)
process.once("SIGTERM", () => void app.close())
