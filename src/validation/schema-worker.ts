import { getCompileCacheDir } from "node:module"
import { dirname } from "node:path"
import { Worker } from "node:worker_threads"
import type { ValidationReport } from "../domain/document-validator.ts"
import { Fault } from "../domain/fault.ts"
import { BrokenSchemas, type SchemaPlan } from "./schema-set.ts"
import type { WorkerAnswer, WorkerQuestion, WorkerReady } from "./worker.ts"

/** Schemas are code, and code that does not come to an end ends here. */
const startLimitMs = 10_000
const maxWaiting = 1000
/** What waited longer is refused: runs to their time limit, one after the other, would hold its caller up for many minutes. */
const longestWaitMs = 5000

interface Job {
  readonly type: string
  readonly value: unknown
  readonly askedAt: number
  resolve(report: ValidationReport): void
  reject(error: unknown): void
}

/**
 * A thread that validates, one document at a time. A run past its time, or one that kills the thread, costs only itself:
 * another thread with the same schemas takes over and those that wait go on.
 */
export class SchemaWorker {
  readonly #plans: readonly SchemaPlan[]
  readonly #timeLimitMs: number
  readonly #longestWaitMs: number
  readonly #waiting: Job[] = []
  #worker: Worker | null = null
  /** Compiled, and able to take a job. */
  #ready = false
  #running: Job | null = null
  #timer: NodeJS.Timeout | null = null
  #retired = false

  constructor(plans: readonly SchemaPlan[], timeLimitMs: number, waitMs = longestWaitMs) {
    this.#plans = plans
    this.#timeLimitMs = timeLimitMs
    this.#longestWaitMs = waitMs
  }

  /** Starts the thread and compiles. @throws {BrokenSchemas} */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => this.#spawn(resolve, reject))
  }

  /** @throws {Fault} `config_too_complex`, `config_busy`, `shutting_down` */
  validate(type: string, value: unknown): Promise<ValidationReport> {
    if (this.#retired) return Promise.reject(new Fault("shutting_down", "The service is shutting down."))
    if (this.#waiting.length >= maxWaiting) {
      return Promise.reject(busy())
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ type, value, askedAt: performance.now(), resolve, reject })
      this.#pump()
    })
  }

  /** Takes no more jobs; ends once those it has are done. */
  retire(): void {
    this.#retired = true
    this.#pump()
  }

  async close(): Promise<void> {
    this.#retired = true
    const left = [this.#running, ...this.#waiting.splice(0)]
    this.#running = null
    for (const job of left) job?.reject(new Fault("shutting_down", "The service is shutting down."))
    await this.#stop()
  }

  #spawn(onReady: () => void, onFailure: (error: Error) => void): void {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), {
      workerData: this.#plans,
      env: compileCache(),
      // Only the young generation, which grows to 16 MiB where nobody says otherwise: garbage of compiling, kept for nothing.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      execArgv: [],
    })
    this.#worker = worker
    this.#timer = setTimeout(() => onLost(new Error("the schemas take too long to compile")), startLimitMs)
    const onLost = (cause: Error): void => {
      if (this.#worker !== worker) return
      const wasReady = this.#ready
      void this.#stop()
      if (wasReady) this.#lose(cause)
      else onFailure(cause)
    }
    worker.on("error", onLost)
    worker.on("exit", (code) => onLost(new Error(`the validation thread ended with code ${code}`)))
    worker.on("message", (message: WorkerReady | WorkerAnswer) => {
      if (this.#worker !== worker) return
      if (message.kind === "answer") return this.#finish(message)
      this.#clearTimer()
      if (message.failures.length > 0) return onLost(new BrokenSchemas(message.failures))
      this.#ready = true
      onReady()
      this.#pump()
    })
    // What is under way has a timer, and that holds the process; the thread alone does not. (Last: a listener takes hold again.)
    worker.unref()
  }

  /** Gives the next job to the thread, which is started where there is none. */
  #pump(): void {
    if (this.#running) return
    if (this.#waiting.length === 0) {
      if (this.#retired) void this.#stop()
      return
    }
    if (!this.#worker) {
      this.#spawn(
        () => undefined,
        (error) => this.#abandon(error),
      )
      return
    }
    if (!this.#ready) return
    const job = this.#next()
    if (!job) {
      this.#pump()
      return
    }
    this.#running = job
    const question: WorkerQuestion = { type: job.type, value: job.value }
    this.#worker.postMessage(question)
    this.#timer = setTimeout(() => this.#timeUp(job), this.#timeLimitMs)
  }

  /** The first that has not waited too long; the others are refused. */
  #next(): Job | null {
    for (let job = this.#waiting.shift(); job; job = this.#waiting.shift()) {
      if (performance.now() - job.askedAt <= this.#longestWaitMs) return job
      job.reject(busy())
    }
    return null
  }

  /** An answer may already have arrived while the event loop was busy elsewhere: it is looked at first. */
  #timeUp(job: Job): void {
    setImmediate(() => {
      if (this.#running !== job) return
      void this.#stop()
      this.#lose(new Error(`validation took longer than ${this.#timeLimitMs} ms`))
    })
  }

  #finish({ errors, truncated }: WorkerAnswer): void {
    this.#clearTimer()
    this.#running?.resolve({ errors, truncated })
    this.#running = null
    this.#pump()
  }

  /** The thread is gone: its job fails, the others go on with a new one. */
  #lose(cause: Error): void {
    const job = this.#running
    this.#running = null
    const message = `The config is too complex for its schema: it could not be validated within ${this.#timeLimitMs} ms.`
    job?.reject(new Fault("config_too_complex", message, { cause }))
    this.#pump()
  }

  /** A new thread could not be started: nobody waits for ever. The next call tries again. */
  #abandon(cause: Error): void {
    for (const job of this.#waiting.splice(0)) job.reject(cause)
  }

  async #stop(): Promise<void> {
    const worker = this.#worker
    this.#worker = null
    this.#ready = false
    this.#clearTimer()
    await worker?.terminate()
  }

  #clearTimer(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
  }
}

function busy(): Fault {
  return new Fault("config_busy", "Too many configs wait to be validated; try again.", { retryAfterSeconds: 1 })
}

/** The thread finds its stripped and compiled sources where the process keeps its own: without, it would strip them once more. */
function compileCache(): Record<string, string> {
  const directory = getCompileCacheDir()
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) }
}
