import { makeHome } from "../test/support/service.ts"
import { requestOf } from "./load.ts"
import type { Part } from "./measure.ts"
import { startHello, startService } from "./process.ts"
import { ratesOf, rateTable } from "./rates.ts"

/** A service without a VM that answers, with every request counted against a limit that is never reached. */
export const idleSettings = {
  vms: { vm01: { ip: "127.0.0.1" } },
  limits: { requests_per_minute: 1_000_000 },
  config_management: {
    config_paths: { app: { default: "/etc/app.yml" } },
    config_schemas: {},
    config_types: { app: { schema: "none" } },
  },
}

/** What a request costs before it does anything. */
export async function benchHttp(): Promise<Part> {
  const home = await makeHome({ settings: idleSettings })
  const hello = await startHello(home)
  const service = await startService(home)
  const ask = (path: string): readonly Buffer[] => [requestOf("GET", path, "application/json")]
  const runs = 20_000
  const rates = await ratesOf([
    { name: "hello world", server: hello, requests: ask("/"), runs },
    { name: "`/healthz`", server: service, requests: ask("/healthz"), runs, goal: 0.8 },
    { name: "`/vms`", server: service, requests: ask("/vms"), runs },
  ])
  await service.stop()
  await hello.stop()
  await home.remove()
  return { figures: rates, table: rateTable(rates) }
}
