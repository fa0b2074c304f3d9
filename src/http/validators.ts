import { Ajv, type ErrorObject, type ValidateFunction } from "ajv"
import type { FastifySchemaCompiler } from "fastify"
import { type DocumentError, Fault, type FaultCode } from "../domain/fault.ts"

/** As much of a JSON Schema as the text of a URL needs. */
interface UrlSchema {
  readonly properties?: Readonly<Record<string, { readonly type?: string }>>
}

type Result = { readonly value: unknown } | { readonly error: Fault }

const instant = /^(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/

// Nothing is coerced, stripped or filled in: only text from the URL is converted, by `fromText`.
// The schemas are our own, so they are not checked once more at each start.
const ajv = new Ajv({
  allErrors: true,
  coerceTypes: false,
  removeAdditional: false,
  useDefaults: false,
  validateSchema: false,
})
ajv.addFormat("date-time", (text) => {
  const day = instant.exec(text)?.[1]
  return day !== undefined && isDay(day) && hasFourDigitYear(new Date(text))
})

/** JavaScript takes the 30th of February for the 2nd of March. */
function isDay(text: string): boolean {
  const day = new Date(`${text}T00:00:00Z`)
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text)
}

/** In UTC, where a time near either end of the years can leave them; times are compared as text of one length. */
function hasFourDigitYear(time: Date): boolean {
  const year = time.getUTCFullYear()
  return year >= 0 && year <= 9999
}

/** Fastify's own Ajv coerces and strips; this compiler does neither. */
export const compileValidator: FastifySchemaCompiler<unknown> = ({ schema, httpPart, contentType }) => {
  // These schemas are there to be documented: headers are read where they are used, and a body of several media types
  // is a config, which the services judge.
  if (httpPart === "headers" || contentType !== undefined) return (value: unknown) => ({ value })
  const validate = ajv.compile(schema as object)
  if (httpPart === "body") return (value: unknown): Result => check(validate, value, "invalid_body")
  return (value: unknown): Result => checkUrl(schema as UrlSchema, validate, value as Record<string, unknown>)
}

function checkUrl(schema: UrlSchema, validate: ValidateFunction, text: Record<string, unknown>): Result {
  // Mostly there is nothing to convert.
  if (validate(text)) return { value: text }
  const repeated = Object.keys(text).find((name) => Array.isArray(text[name]) && typeIn(schema, name) !== "array")
  if (repeated !== undefined && typeIn(schema, repeated) !== undefined) {
    return refusal("invalid_parameter", [{ pointer: `/${repeated}`, message: "must be given once" }])
  }
  const value = Object.fromEntries(Object.entries(text).map(([name, each]) => [name, fromText(schema, name, each)]))
  return check(validate, value, "invalid_parameter", Object.keys(schema.properties ?? {}))
}

/** A number or a switch where its text is one, exactly; anything else stays what it is and is refused by the schema. */
function fromText(schema: UrlSchema, name: string, text: unknown): unknown {
  const type = typeIn(schema, name)
  if (type === "array" && !Array.isArray(text)) return [text]
  if (typeof text !== "string") return text
  if (type === "integer" && /^\d{1,9}$/.test(text)) return Number(text)
  if (type === "boolean" && (text === "true" || text === "false")) return text === "true"
  return text
}

function typeIn(schema: UrlSchema, name: string): string | undefined {
  const properties = schema.properties ?? {}
  return Object.hasOwn(properties, name) ? (properties[name]?.type ?? "") : undefined
}

function check(validate: ValidateFunction, value: unknown, code: FaultCode, known: readonly string[] = []): Result {
  if (validate(value)) return { value }
  // That a branch of if/then/else does not hold is told by the errors inside it.
  const errors = (validate.errors ?? []).filter(({ keyword }) => keyword !== "if")
  return refusal(
    code,
    errors.slice(0, 100).map((error) => toDocumentError(error, known)),
  )
}

function refusal(code: FaultCode, errors: readonly DocumentError[]): Result {
  const [first] = errors
  const place = code === "invalid_body" ? bodyPlace(first?.pointer) : `The parameter ${first?.pointer?.slice(1) ?? ""}`
  return { error: new Fault(code, `${place} ${first?.message ?? "is wrong"}.`, { errors }) }
}

function bodyPlace(pointer = ""): string {
  return pointer === "" ? "The body" : `The body at ${pointer}`
}

function toDocumentError(error: ErrorObject, known: readonly string[]): DocumentError {
  const { instancePath, keyword, params } = error
  if (keyword === "additionalProperties") {
    const pointer = `${instancePath}/${escapePointer(String(params.additionalProperty).slice(0, 64))}`
    const choice = known.length > 0 ? ` (known here: ${known.join(", ")})` : ""
    return { pointer, message: `is not known${choice}`, keyword }
  }
  if (keyword === "enum") {
    return { pointer: instancePath, message: `must be one of ${params.allowedValues.join(", ")}`, keyword }
  }
  if (keyword === "type" && params.type === "boolean") {
    return { pointer: instancePath, message: "must be true or false", keyword }
  }
  if (keyword === "format" && params.format === "date-time") {
    return {
      pointer: instancePath,
      message: "must be a time like 2026-01-02T03:04:05Z, in UTC of the years 0000 to 9999",
      keyword,
    }
  }
  return { pointer: instancePath, message: error.message ?? "is wrong", keyword }
}

function escapePointer(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1")
}
