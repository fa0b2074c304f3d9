import type { FastifyInstance } from "fastify"

const contentSecurityPolicy = [
  "default-src 'self'",
  "base-uri 'self'",
  "font-src 'self' https: data:",
  "form-action 'self'",
  "frame-ancestors 'self'",
  "img-src 'self' data:",
  "object-src 'none'",
  "script-src 'self'",
  "script-src-attr 'none'",
  "style-src 'self' https: 'unsafe-inline'",
]

/** What browsers are to keep to on the pages of /docs. The choices are helmet's, and a test holds them against it. */
const ofPages = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "origin-agent-cluster": "?1",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-dns-prefetch-control": "off",
  "x-download-options": "noopen",
  "x-frame-options": "SAMEORIGIN",
  "x-permitted-cross-domain-policies": "none",
  "x-xss-protection": "0",
}

/**
 * Of all other answers, which are data: nothing in them may run, be framed, or be embedded by another site (OWASP REST
 * Security Cheat Sheet, "Security Headers"). They are few, since each is written with each answer.
 */
const ofData = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
}

/** Of this host only: what else runs under its name is not ours to decide. */
const ofTls = { "strict-transport-security": "max-age=31536000" }

/** Puts them on every answer. */
export function addSecurityHeaders(app: FastifyInstance, tls: boolean): void {
  const [page, data] = [pageHeaders(tls), dataHeaders(tls)]
  app.addHook("onRequest", (request, reply, done) => {
    reply.headers(/^\/docs(?:[/?]|$)/.test(request.url) ? page : data)
    done()
  })
}

/** By lower-case name. */
export function pageHeaders(tls: boolean): Readonly<Record<string, string>> {
  // Without TLS the last directive would turn the links of /docs into https.
  const policy = tls ? [...contentSecurityPolicy, "upgrade-insecure-requests"] : contentSecurityPolicy
  return { "content-security-policy": policy.join(";"), ...(tls && ofTls), ...ofPages }
}

/** By lower-case name. */
export function dataHeaders(tls: boolean): Readonly<Record<string, string>> {
  return tls ? { ...ofData, ...ofTls } : ofData
}
