import { parentPort, workerData } from "node:worker_threads"
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from "ajv"
import { Ajv2020 } from "ajv/dist/2020.js"
import ajvFormats from "ajv-formats"
import type { DocumentError } from "../domain/fault.ts"
import { toDocumentError } from "./messages.ts"
import { schemaDirUri } from "./schema-files.ts"
import type { SchemaPlan } from "./schema-set.ts"

/** The first message: what does not compile, one line each. */
export interface WorkerReady {
  readonly kind: "ready"
  readonly failures: readonly string[]
}

export interface WorkerAnswer {
  readonly kind: "answer"
  readonly errors: readonly DocumentError[]
  readonly truncated: boolean
}

/**
 * The document goes as it is, and not as JSON text: V8's JSON.parse (13.6, in Node 24.21) takes an escaped key for one that it has
 * parsed before, where that is the beginning of what is written (`"\\n"`, then `"\n'"`).
 */
export interface WorkerQuestion {
  readonly type: string
  readonly value: unknown
}

const maxErrors = 100
/**
 * Ajv collects without end, and a thread whose memory runs out takes the whole process with it: three branches of an `anyOf` over a list
 * of a MiB are enough. So collecting ends here, by a check that is put into the code that Ajv generates (its option `code.process`).
 * More than `maxErrors`, because some of what is collected inside `anyOf` is dropped again.
 */
const maxCollected = 1000

const options: Options = {
  // Old schemas carry keywords of other tools; Ajv's "log" without a logger is the same as not minding.
  strictSchema: false,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
  logger: false,
}
const collecting: Options = { ...options, allErrors: true, code: { process: endCollecting } }

/** A schema, compiled twice: to say whether, which stops at the first error and decides; and to say what is wrong. */
interface Validators {
  readonly decide: ValidateFunction
  /** Compiled when it is first needed. Throws the errors themselves where they are too many. */
  readonly collect: () => ValidateFunction
}

function endCollecting(code: string): string {
  const check = `if (vErrors.length >= ${maxCollected}) throw vErrors;`
  return code
    .replaceAll(/vErrors\.push\(err\d+\)/g, (push) => `${check}${push}`)
    .replaceAll("errors = vErrors.length;", (count) => `${count}${check}`)
}

function compile(plan: SchemaPlan, validators: Map<string, Validators>): string[] {
  const [deciding, collector] = [open(plan, options), open(plan, collecting)]
  const failures: string[] = []
  for (const { file, uris, schema } of plan.documents) {
    const failure = told(file, () => {
      for (const ajv of [deciding, collector]) for (const uri of uris) ajv.addSchema(schema as object, uri)
    })
    if (failure !== null) failures.push(failure)
  }
  if (failures.length > 0) return failures
  for (const { type, file, uri } of plan.types) {
    const failure = told(file, () => {
      validators.set(type, { decide: compiled(deciding, uri), collect: () => compiled(collector, uri) })
    })
    if (failure !== null) failures.push(failure)
  }
  return failures
}

function open(plan: SchemaPlan, own: Options): Ajv {
  const ajv = plan.draft === "draft-07" ? new Ajv(own) : new Ajv2020(own)
  ajvFormats.default(ajv)
  ajv.addKeyword({ keyword: "x-secret", schemaType: "boolean" })
  return ajv
}

function compiled(ajv: Ajv, uri: string): ValidateFunction {
  const validator = ajv.getSchema(uri)
  if (!validator) throw new Error("is not found under its own $id")
  return validator
}

/** What went wrong, in a line that names the file; null: nothing. */
function told(file: string, step: () => void): string | null {
  try {
    step()
    return null
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return `${file}: ${message.replaceAll(schemaDirUri, "").slice(0, 2000)}`
  }
}

function validate({ decide, collect }: Validators, value: unknown): WorkerAnswer {
  const found = decide(value) ? [] : errorsOf(collect(), value)
  return { kind: "answer", errors: found.slice(0, maxErrors).map(toDocumentError), truncated: found.length > maxErrors }
}

function errorsOf(collect: ValidateFunction, value: unknown): readonly ErrorObject[] {
  try {
    collect(value)
    return collect.errors ?? []
  } catch (error) {
    if (Array.isArray(error)) return error
    throw error
  } finally {
    // Ajv keeps the errors of its last run; they are not needed until the next.
    collect.errors = null
  }
}

const validators = new Map<string, Validators>()
const plans: readonly SchemaPlan[] = workerData
const ready: WorkerReady = { kind: "ready", failures: plans.flatMap((plan) => compile(plan, validators)) }
parentPort?.postMessage(ready)
parentPort?.on("message", ({ type, value }: WorkerQuestion) => {
  const own = validators.get(type)
  if (!own) throw new Error("no such schema was compiled")
  parentPort?.postMessage(validate(own, value))
})
