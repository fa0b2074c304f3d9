import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { existsSync } from "node:fs"
import { assertProblem, itemsOf, type Json, type Request } from "./client.ts"
import { leftovers, standing, type World } from "./world.ts"

/** A change that must fail, of the file at `file` through `path`. */
export interface Refusal {
  readonly file: string
  readonly path: string
  readonly request: Request
  readonly status: number
  readonly code: string
}

/**
 * Sends it: the file, its mode and owner stay, nothing is left beside it, and no version shows up but of what stood there.
 * @returns the problem
 */
export async function assertRefused({ send }: World, refusal: Refusal): Promise<Json> {
  const { file, path, request, status, code } = refusal
  const stood = existsSync(file) ? standing(file) : null
  const versions = async () => itemsOf(await send("GET", "/backups?limit=500"))
  const known = new Set((await versions()).map(({ backupId }) => backupId))

  const answer = await send("PUT", path, request)

  const problem = assertProblem(answer, status, code)
  assert.equal(problem.fileState, "unchanged", answer.text)
  assert.deepEqual(existsSync(file) ? standing(file) : null, stood)
  assert.deepEqual(leftovers(file), [])
  for (const version of await versions()) {
    if (known.has(version.backupId)) continue
    assert.equal(version.trigger, "found")
    assert.equal(version.digest, stood && createHash("sha256").update(stood.bytes).digest("hex"))
  }
  const operation = (await send("GET", `/operations/${String(problem.operationId)}`)).body
  assert.deepEqual([operation.state, operation.fileState, operation.versionId], ["failed", "unchanged", null])
  assert.deepEqual([(operation.problem as Json).code, (operation.problem as Json).status], [code, status])
  return problem
}
