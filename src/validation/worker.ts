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

/** The document goes as JSON text: cheaper than a structured clone, and surely a copy. */
export interface WorkerQuestion {
  readonly type: string
  readonly json: string
}

const maxErrors = 100

const options: Options = {
  allErrors: true,
  // Old schemas carry keywords of other tools; Ajv's "log" without a logger is the same as not minding.
  strictSchema: false,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
  logger: false,
}

function compile(plan: SchemaPlan, validators: Map<string, ValidateFunction>): string[] {
  const ajv = plan.draft === "draft-07" ? new Ajv(options) : new Ajv2020(options)
  ajvFormats.default(ajv)
  ajv.addKeyword({ keyword: "x-secret", schemaType: "boolean" })
  const failures: string[] = []
  for (const { file, uris, schema } of plan.documents) {
    const failure = told(file, () => {
      for (const uri of uris) ajv.addSchema(schema as object, uri)
    })
    if (failure !== null) failures.push(failure)
  }
  if (failures.length > 0) return failures
  for (const { type, file, uri } of plan.types) {
    const failure = told(file, () => {
      const validator = ajv.getSchema(uri)
      if (!validator) throw new Error("is not found under its own $id")
      validators.set(type, validator)
    })
    if (failure !== null) failures.push(failure)
  }
  return failures
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

function validate(validator: ValidateFunction | undefined, json: string): WorkerAnswer {
  if (!validator) throw new Error("no such schema was compiled")
  const found: readonly ErrorObject[] = validator(JSON.parse(json)) ? [] : (validator.errors ?? [])
  // Ajv keeps the errors of its last run: they would hold on to the document.
  validator.errors = null
  return { kind: "answer", errors: found.slice(0, maxErrors).map(toDocumentError), truncated: found.length > maxErrors }
}

const validators = new Map<string, ValidateFunction>()
const plans: readonly SchemaPlan[] = workerData
const ready: WorkerReady = { kind: "ready", failures: plans.flatMap((plan) => compile(plan, validators)) }
parentPort?.postMessage(ready)
parentPort?.on("message", ({ type, json }: WorkerQuestion) => {
  parentPort?.postMessage(validate(validators.get(type), json))
})
