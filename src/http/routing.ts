import type { FastifyInstance, FastifyRequest } from "fastify"
import { Fault } from "../domain/fault.ts"

/** Answers paths and methods that no route has, before a body is read. Call it before any route is added. */
export function addRoutingFaults(app: FastifyInstance): void {
  const methods = new Map<string, Set<string>>()
  app.addHook("onRoute", ({ url, method }) => {
    if (url === "*") return
    const known = methods.get(url) ?? new Set()
    for (const each of [method].flat()) known.add(each)
    // HEAD is where GET is, and all that Fastify tells of a prefix with a slash at its end.
    if (known.has("HEAD")) known.add("GET")
    methods.set(url, known)
  })
  app.addHook("onRequest", (request, _reply, done) => {
    if (request.is404) throw routingFault(request, methods)
    done()
  })
  // For what a plugin hands on: a page under /docs that does not exist.
  app.setNotFoundHandler((request) => {
    throw routingFault(request, methods)
  })
}

function routingFault(request: FastifyRequest, methods: ReadonlyMap<string, ReadonlySet<string>>): Fault {
  const path = request.url.split("?", 1)[0] ?? ""
  const allow = [...new Set([...methods].flatMap(([url, known]) => (matches(url, path) ? [...known] : [])))].sort()
  if (allow.length === 0 || allow.includes(request.method)) return new Fault("not_found", "No route has this path.")
  return new Fault("method_not_allowed", `Here are ${allow.join(", ")}.`, { allow })
}

/** Whether a path could be of a route: as many segments, the fixed ones equal; `*` at the end stands for any rest. */
function matches(url: string, path: string): boolean {
  const wanted = url.split("/")
  const given = path.split("/")
  const open = wanted.at(-1) === "*"
  if (open ? given.length < wanted.length : given.length !== wanted.length) return false
  return wanted.every((segment, at) => segment === "*" || segment.startsWith(":") || segment === given[at])
}
