import type { FormatName } from "../domain/config-type.ts"
import { Fault, isFault } from "../domain/fault.ts"
import { renderEnv } from "./env.ts"
import { type ExactValue, readExactJson, writeExactJson } from "./exact-json.ts"
import { decodeUtf8, NotUtf8, Unreadable } from "./text.ts"
import { renderYaml } from "./yaml.ts"

/**
 * Reads bytes that are JSON as Python writes it, without losing anything.
 * @returns undefined for bytes that are not JSON
 * @throws {Fault} `config_unparsable`, `config_too_complex` for JSON that no config can hold
 */
export function parseExactly(bytes: Uint8Array): ExactValue | undefined {
  try {
    return readExactJson(decodeUtf8(bytes))
  } catch (error) {
    if (error instanceof NotUtf8) return undefined
    throw unwritable(error)
  }
}

/**
 * Writes such a value down in a format other than text. A number is written as it was read; one that a JSON value cannot hold
 * (thirty digits, infinity) is right in YAML all the same, though the service itself can then show the text only.
 * @throws {Fault} `config_unparsable`, `config_too_complex` for a value the format cannot hold
 */
export function renderExactly(value: ExactValue, format: Exclude<FormatName, "text">): Buffer {
  try {
    return Buffer.from(writers[format](value))
  } catch (error) {
    throw unwritable(error)
  }
}

const writers: Readonly<Record<Exclude<FormatName, "text">, (value: ExactValue) => string>> = {
  yaml: renderYaml,
  json: (value) => `${writeExactJson(value)}\n`,
  env: (value) => renderEnv(value instanceof Map ? value : null),
}

/** Faults of a body are no faults of what a reader asks for. */
function unwritable(error: unknown): unknown {
  if (isFault(error, "invalid_body")) {
    return new Fault("config_unparsable", error.message, { errors: error.details.errors, cause: error })
  }
  if (!(error instanceof Unreadable)) return error
  const code = error.tooComplex ? "config_too_complex" : "config_unparsable"
  return new Fault(code, `The value cannot be written as a config: ${error.message}.`, {
    errors: [{ message: error.message }],
    cause: error,
  })
}
