import type { ErrorObject } from "ajv"
import type { DocumentError } from "../domain/fault.ts"

const maxKeyLength = 100
const maxListLength = 300
const maxPointerLength = 1024

/** Ajv's error in our words: keys of the document may be named, values never. */
export function toDocumentError(error: ErrorObject): DocumentError {
  return { pointer: shownPointer(error.instancePath), message: messageOf(error), keyword: error.keyword }
}

function messageOf(error: ErrorObject): string {
  const { keyword, params, message = "is not valid" } = error
  if (keyword === "additionalProperties") return `must not have the property ${shownKey(params.additionalProperty)}`
  if (keyword === "unevaluatedProperties") return `must not have the property ${shownKey(params.unevaluatedProperty)}`
  if (keyword === "propertyNames") return `must not have a property named ${shownKey(params.propertyName)}`
  if (error.propertyName !== undefined) return `the name of the property ${shownKey(error.propertyName)} ${message}`
  if (keyword === "enum") return `must be one of ${shortened(listed(params.allowedValues), maxListLength)}`
  if (keyword === "const") return `must be ${shortened(JSON.stringify(params.allowedValue), maxListLength)}`
  if (keyword === "false schema") return "must not be there"
  return shortened(message, maxListLength)
}

function listed(values: unknown): string {
  return Array.isArray(values) ? values.map((value) => JSON.stringify(value)).join(", ") : JSON.stringify(values)
}

function shownKey(key: unknown): string {
  return JSON.stringify(shortened(String(key), maxKeyLength))
}

function shortened(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}...` : text
}

/** Keys may be as long as the document: a pointer that is too long is cut to an ancestor's. */
function shownPointer(pointer: string): string {
  if (pointer.length <= maxPointerLength) return pointer
  return pointer.slice(0, pointer.lastIndexOf("/", maxPointerLength))
}
