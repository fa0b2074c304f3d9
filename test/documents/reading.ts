import { isDeepStrictEqual } from "node:util"
import fc from "fast-check"
import { type DocumentKind, type ParsedDocument, parseDocument, renderDocument } from "../../src/documents/document.ts"
import { type DocumentError, Fault } from "../../src/domain/fault.ts"

export const yaml: DocumentKind = { format: "yaml", yamlVersion: null }
export const yaml11: DocumentKind = { format: "yaml", yamlVersion: "1.1" }
export const yaml12: DocumentKind = { format: "yaml", yamlVersion: "1.2" }
export const json: DocumentKind = { format: "json", yamlVersion: null }
export const env: DocumentKind = { format: "env", yamlVersion: null }
export const text: DocumentKind = { format: "text", yamlVersion: null }

export function read(source: string | Uint8Array, kind: DocumentKind): ParsedDocument {
  return parseDocument(typeof source === "string" ? Buffer.from(source) : source, kind)
}

export function write(value: unknown, kind: DocumentKind, live: string | null = null): string {
  return renderDocument(value, kind, live === null ? null : Buffer.from(live)).toString()
}

/** The fault that a step throws, in the words a client would see. */
export function refusal(step: () => unknown): { code: string; message: string; error: DocumentError | undefined } {
  try {
    step()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return { code: error.code, message: error.message, error: error.details.errors?.[0] }
  }
  throw new Error("nothing was refused")
}

/** Takes a step whether or not it is refused; what is not a fault is thrown on. */
export function attempt(step: () => unknown): void {
  try {
    step()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
  }
}

/** Milliseconds of this process' time: what the other processes of the machine do does not count. */
export function cpuMs(step: () => unknown): number {
  const before = process.cpuUsage()
  step()
  const used = process.cpuUsage(before)
  return (used.user + used.system) / 1000
}

const misleading = [
  "no",
  "Yes",
  "on",
  "0777",
  "0o17",
  "12:30",
  "1_000",
  "2001-01-01",
  "2001-99-99",
  "~",
  "null",
  "=",
  "<<",
  "1e3",
  ".5",
  "... x",
  "--- a",
  "5e12345",
  "2001-01-01\u0085x",
]
const strings = fc.oneof(
  fc.constantFrom(
    ...misleading,
    "",
    " ",
    "# no comment",
    "a: b",
    "- a",
    "x\ny",
    "x\n\n",
    "\ty",
    "\u0085",
    "\u2028",
    "'\"`",
    "\\n",
  ),
  fc.string({ unit: "binary", maxLength: 30 }).filter((value) => value.isWellFormed()),
  fc.string({ unit: fc.constantFrom(..." \t\n\r#:-'\"\\a0{[|>&*!%@`,?y.~"), maxLength: 12 }),
)
const numbers = fc
  .oneof(fc.maxSafeInteger(), fc.double({ noNaN: true, noDefaultInfinity: true }))
  .map((value) => value + 0 || 0)
// Numeric keys are put first by JavaScript itself; the order of the others has to be kept.
const keys = strings.filter((key) => key !== "__proto__")

/** Values that JSON can hold. */
export const jsonValues: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    strings,
    numbers,
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(keys, tie("value"), { maxKeys: 5, noNullPrototype: true }),
  ),
})).value

/** Equal, key order included. */
export function sameDocument(one: unknown, other: unknown): boolean {
  return isDeepStrictEqual(one, other) && JSON.stringify(one) === JSON.stringify(other)
}
