import { readFileSync, writeFileSync } from "node:fs"
import { buildApp } from "../src/http/app.ts"
import { openapiText } from "../src/http/openapi.ts"
import type { Services } from "../src/http/services.ts"

/** Writes openapi.yaml anew from the routes: npm run openapi */
const root = new URL("../", import.meta.url)
const { version } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"))

// Describing calls no service.
const app = await buildApp({} as Services, {
  logger: false,
  bodyBytes: () => 1_048_576,
  requestsPerMinute: () => 0,
  corsOrigins: [],
  allowedHosts: null,
  tls: null,
  version,
  timeouts: { headersMs: 10_000, requestMs: 30_000, checkIntervalMs: 30_000, idleMs: 30_000 },
  closing: { silentMs: 0, allMs: 0 },
  connections: 1,
})
writeFileSync(new URL("openapi.yaml", root), openapiText(app))
await app.close()
