import type { FaultCode } from "../domain/fault.ts"

/** What a token must hold to make a call (API 8); `open`: nothing. */
export type Scope = "config:read" | "config:write" | "backup:read" | "backup:write" | "restore" | "open"

/**
 * How a route's body is read: `config` keeps the caller's bytes or parses JSON, `members` is a JSON object (or nothing),
 * `none` is a call without members.
 */
export type BodyKind = "config" | "members" | "none"

declare module "fastify" {
  interface FastifyContextConfig {
    scope?: Scope
    /** Whether the answer may show the content of a config. */
    reveals?: boolean
    body?: BodyKind
    /** What the route can fail with, besides what every route can; they become its documented problems. */
    problems?: readonly FaultCode[]
  }
  interface FastifyRequest {
    /** Token name; `anonymous` where no tokens are set. */
    actor: string
  }
}
