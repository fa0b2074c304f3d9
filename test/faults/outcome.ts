import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import type { Answer, Json, Send } from "../e2e/client.ts"
import { ended, eventually, leftovers } from "../e2e/world.ts"
import type { FaultRun } from "./frame.ts"

/** A push that met a fault. */
export interface TriedPush {
  readonly send: Send
  /** The file on this machine. */
  readonly file: string
  readonly vmId: string
  readonly before: string
  readonly next: string
  /** What was injected, in a few words. */
  readonly fault: string
  /** An answer that takes longer came too late. */
  readonly limitMs: number
  /** Ends the fault, where it would go on. */
  readonly whenAnswered?: () => void
}

/** What a push was to do, and what came of it. */
export interface Outcome {
  readonly answer: Answer
  readonly tookMs: number
  /** `succeeded written`, `failed unchanged`, .. */
  readonly end: string
}

/**
 * Sends a push and holds its answer, its operation and its file against each other, once the operation has ended:
 * a file that is neither old nor new is torn; an answer or an operation that says other than what stands there is a wrong
 * outcome; an answer past its limit is a hang.
 */
export async function tryPush(run: FaultRun, push: TriedPush): Promise<Outcome> {
  const { send, vmId, file, before, next } = push
  const startedAt = performance.now()
  const answer = await send("PUT", `/vms/${vmId}/configs/central`, { yaml: next })
  const tookMs = performance.now() - startedAt
  const told = readFileSync(file, "utf8")
  push.whenAnswered?.()
  const said = `${answer.status} ${String(answer.body.code ?? "")} ${String(answer.body.fileState ?? "")}`
  const complain = (counter: Parameters<FaultRun["found"]>[0], what: string): void =>
    run.found(counter, `${push.fault}: ${what} (${said})`)
  if (tookMs > push.limitMs) complain("hangs", `answered after ${Math.round(tookMs)} ms`)
  if (!fits(answer, told, push)) complain("wrong outcomes", `the answer does not fit ${JSON.stringify(told)}`)
  const operation = await ended(send, answer.body.operationId)
  const now = readFileSync(file, "utf8")
  if (now !== before && now !== next) complain("torn", JSON.stringify(now))
  const end = `${String(operation.state)} ${String(operation.fileState)}`
  if (expectedEnd(now, push).every((each) => each !== end))
    complain("wrong outcomes", `${end}, but ${now} stands there`)
  if (digestOf(now) !== (await newestDigest(send, vmId)))
    complain("lost", "the newest version is not what stands there")
  return { answer, tookMs, end }
}

/** Whether an answer, and what it says of the file, is true of what stands there the moment it comes. */
function fits({ status, body }: Answer, stands: string, { before, next }: TriedPush): boolean {
  if (status === 200) return stands === next
  if (typeof body.operationId !== "string" || typeof body.code !== "string" || status === 500) return false
  if (body.fileState === "unchanged" || body.fileState === "rolled_back") return stands === before
  return body.fileState === "unknown" && body.code === "outcome_unknown"
}

function expectedEnd(stands: string, { next }: TriedPush): readonly string[] {
  return stands === next ? ["succeeded written"] : ["failed unchanged", "rolled_back rolled_back"]
}

async function newestDigest(send: Send, vmId: string): Promise<unknown> {
  const { body } = await send("GET", `/backups?vmId=${vmId}&limit=1`)
  return (body.items as readonly Json[])[0]?.digest
}

export function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex")
}

/** A connection that works, and the file as it stands. A call that was given up may take the connection along a moment later. */
export async function warmUp(send: Send, vmId: string): Promise<string> {
  const ask = () => send("GET", `/vms/${vmId}/configs/central`, { headers: { accept: "application/yaml" } })
  return (await eventually(ask, ({ status }) => status === 200)).text
}

/** Waits until nothing of ours stands beside the file; what is left after that is told. */
export async function awaitTidy(run: FaultRun, file: string, fault: string, patienceMs = 5_000): Promise<void> {
  const deadline = performance.now() + patienceMs
  while (leftovers(file).length > 0) {
    if (performance.now() > deadline) {
      run.found("wrong outcomes", `${fault}: ${leftovers(file).join(", ")} is left over`)
      return
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
