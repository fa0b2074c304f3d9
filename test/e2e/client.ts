import assert from "node:assert/strict"

/** An answer with its body as it came; `body` is its JSON, where it is JSON. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly bytes: Buffer
  readonly text: string
  readonly body: Json
}

export type Json = Readonly<Record<string, unknown>>

export interface Request {
  readonly headers?: Readonly<Record<string, string>>
  /** An object or a value goes as JSON. */
  readonly json?: unknown
  readonly yaml?: string
  readonly text?: string
}

export type Send = (method: string, path: string, request?: Request) => Promise<Answer>

/** Real requests to the service at `url()`, which may be another one after a restart. */
export function clientOf(url: () => string): Send {
  return async (method, path, { headers, json, yaml, text } = {}) => {
    const type = json !== undefined ? "application/json" : yaml !== undefined ? "application/yaml" : "text/plain"
    const body = json === undefined ? (yaml ?? text) : JSON.stringify(json)
    const response = await fetch(url() + path, {
      method,
      body,
      headers: body === undefined ? headers : { "content-type": type, ...headers },
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    const content = response.headers.get("content-type") ?? ""
    const isJson = /[/+]json/.test(content) && bytes.length > 0
    const parsed: unknown = isJson ? JSON.parse(bytes.toString()) : {}
    return {
      status: response.status,
      headers: response.headers,
      bytes,
      text: bytes.toString(),
      body: typeof parsed === "object" && parsed !== null ? (parsed as Json) : {},
    }
  }
}

export function itemsOf(answer: Answer): readonly Json[] {
  assert.equal(answer.status, 200, answer.text)
  return answer.body.items as readonly Json[]
}

/** All items of a list, page by page. */
export async function pagesOf(send: Send, path: string): Promise<readonly (readonly Json[])[]> {
  const pages: (readonly Json[])[] = []
  for (let cursor: unknown = null; ; ) {
    const answer = await send("GET", cursor === null ? path : `${path}&cursor=${encodeURIComponent(String(cursor))}`)
    pages.push(itemsOf(answer))
    cursor = answer.body.nextCursor
    if (cursor === null) return pages
  }
}

/** A problem with this status and code, in the shape of RFC 9457. */
export function assertProblem(answer: Answer, status: number, code: string): Json {
  assert.equal(`${answer.status} ${String(answer.body.code)}`, `${status} ${code}`, answer.text)
  assert.equal(answer.headers.get("content-type"), "application/problem+json")
  assert.equal(answer.body.status, status)
  assert.equal(answer.body.type, `/problems/${code}`)
  assert.match(String(answer.body.instance), /^urn:request:/)
  return answer.body
}
