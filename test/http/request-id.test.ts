import assert from "node:assert/strict"
import { IncomingMessage } from "node:http"
import { Socket } from "node:net"
import { test } from "node:test"
import { requestIdOf } from "../../src/http/request-id.ts"

test("no id is given twice, over many more than random bytes are fetched for at once", () => {
  const request = new IncomingMessage(new Socket())
  const ids = new Set(Array.from({ length: 2_000 }, () => requestIdOf(request)))
  assert.equal(ids.size, 2_000)
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})
