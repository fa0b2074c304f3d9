import type { TestContext } from "node:test"
import { Fault, type FaultCode } from "../../src/domain/fault.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { Metrics } from "../../src/metrics/metrics.ts"

/** Metrics over a fleet that a test may change. */
export function makeMetrics(t: TestContext, ...vmIds: readonly string[]) {
  const fleet = { vms: vmIds.map((vmId) => vm(vmId)) }
  const metrics = new Metrics("0.0.0", () => fleet.vms)
  t.after(() => metrics.close())
  return { metrics, fleet, text: () => metrics.registry.text() }
}

export function vm(vmId: string, enabled = true): Vm {
  const reached = { host: "127.0.0.1", port: 22, user: "x", hostKeys: [], privateKeyPath: null, proxyJump: null }
  return { vmId, name: vmId, role: null, labels: {}, enabled, ...reached }
}

/** An operation that succeeded within 1.5 s, ended at 10:00. */
export function operation(over: Partial<Operation> = {}): Operation {
  return {
    operationId: "019b7c1e-2f4e-7000-8000-000000000002",
    kind: "write",
    vmId: "vm01",
    type: "central",
    state: "succeeded",
    fileState: "written",
    startedAt: "2026-01-02T09:59:58.500Z",
    finishedAt: "2026-01-02T10:00:00.000Z",
    actor: "anonymous",
    reason: null,
    requestId: null,
    digest: null,
    previousDigest: null,
    backupId: null,
    versionId: null,
    rolloutId: null,
    stages: [],
    problem: null,
    ...over,
  }
}

export function fault(code: FaultCode, operationId?: string): Fault {
  return new Fault(code, "A sentence.", { operationId })
}

export const tenOClock = Date.parse("2026-01-02T10:00:00.000Z") / 1000
