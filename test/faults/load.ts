import { readFileSync } from "node:fs"
import type { Send } from "../e2e/client.ts"
import type { FaultRun } from "./frame.ts"

/** A config that is written to. */
interface Goal {
  readonly vmId: string
  readonly url: string
  /** Where it stands, as a path of this machine. */
  readonly file: string
}

/** What a load has sent to one VM since it began, and what came back. */
export interface Sent {
  readonly vm: Goal
  /** What may stand there, while nothing is known of those under way: what was acknowledged last, or what stood there before. */
  last: string
  /** Neither acknowledged nor refused: the answer was lost. */
  readonly open: Set<string>
  /** Every content that was acknowledged. */
  readonly acknowledged: string[]
}

export interface Load {
  readonly sent: readonly Sent[]
  /** How often each status came. */
  readonly statuses: ReadonlyMap<number, number>
  /** Resolves when every writer has met a service that is gone, or has been stopped. */
  readonly over: Promise<void>
  stop(): void
}

let content = 0

/** Writers that change the VMs one after the other, each as fast as it is answered, until the service is gone. */
export function startLoad(send: Send, vms: readonly Goal[], writers: number): Load {
  const sent = vms.map((vm): Sent => ({ vm, last: readFileSync(vm.file, "utf8"), open: new Set(), acknowledged: [] }))
  const statuses = new Map<number, number>()
  let isStopped = false
  const write = async (writer: number): Promise<void> => {
    for (let turn = writer; !isStopped; turn++) {
      const to = sent[turn % sent.length]
      if (!to) return
      const text = `port: ${++content}\n`
      to.open.add(text)
      const answer = await send("PUT", to.vm.url, { yaml: text }).catch(() => null)
      if (answer === null) return
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
      // An outcome that is still open when the service goes may have been either.
      if (answer.status === 504 && answer.body.fileState === "unknown") continue
      to.open.delete(text)
      if (answer.status !== 200) continue
      to.last = text
      to.acknowledged.push(text)
    }
  }
  const over = Promise.all(Array.from({ length: writers }, (_, writer) => write(writer))).then(() => {})
  const stop = (): void => {
    isStopped = true
  }
  return { sent, statuses, over, stop }
}

/** Each file must hold what was acknowledged last, or something whose answer was lost. */
export function checkFiles(run: FaultRun, load: Load): void {
  for (const { vm, last, open } of load.sent) {
    const now = readFileSync(vm.file, "utf8")
    if (now === last || open.has(now)) continue
    const isTorn = !/^port: \d+\n$/.test(now)
    run.found(
      isTorn ? "torn" : "lost",
      `${vm.vmId} holds ${JSON.stringify(now)}, acknowledged was ${JSON.stringify(last)}`,
    )
  }
}
