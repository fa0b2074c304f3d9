import { createHash } from "node:crypto"

/** SHA-256 of the exact bytes, lower-case hex, 64 characters. */
export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex")
}
