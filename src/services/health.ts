import type { Check } from "../domain/transport.ts"

export interface Readiness {
  readonly ready: boolean
  readonly degraded: boolean
  readonly checks: readonly Check[]
}

/** One thing readiness depends on. */
export interface HealthProbe {
  readonly name: string
  /** Not ready without it; otherwise only degraded. */
  readonly required: boolean
  readonly health: () => Promise<{ readonly ok: boolean; readonly detail: string }>
}

const limitMs = 2000

/** Whether the service can do its work now. */
export class Health {
  readonly #probes: readonly HealthProbe[]
  #draining = false

  constructor(probes: readonly HealthProbe[]) {
    this.#probes = probes
  }

  /** From now on not ready: a load balancer is to send its callers elsewhere. */
  drain(): void {
    this.#draining = true
  }

  async readiness(): Promise<Readiness> {
    const checks = await Promise.all(this.#probes.map(run))
    const failed = this.#probes.filter((_, index) => !checks[index]?.ok)
    const ready = !this.#draining && failed.every((probe) => !probe.required)
    const draining: Check = { name: "draining", ok: false, detail: "The service is stopping.", durationMs: 0 }
    return { ready, degraded: failed.length > 0, checks: this.#draining ? [...checks, draining] : checks }
  }
}

async function run(probe: HealthProbe): Promise<Check> {
  const begin = performance.now()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<{ ok: boolean; detail: string }>((resolve) => {
    timer = setTimeout(() => resolve({ ok: false, detail: `No answer within ${limitMs / 1000} s.` }), limitMs)
  })
  const failed = (error: unknown) => ({ ok: false, detail: error instanceof Error ? error.message : "failed" })
  const { ok, detail } = await Promise.race([probe.health().catch(failed), late])
  clearTimeout(timer)
  return { name: probe.name, ok, detail, durationMs: Math.round((performance.now() - begin) * 10) / 10 }
}
