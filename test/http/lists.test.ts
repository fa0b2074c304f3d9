import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { Caller } from "../../src/domain/caller.ts"
import { Fault } from "../../src/domain/fault.ts"
import { problemOf, serve } from "./serving.ts"
import { backupId, type Call, given, liveDigest, operationId, standIns, versionJson } from "./stand-ins.ts"

suite("GET /vms", () => {
  test("pages through all VMs by name, with the total on each page", async (t) => {
    const base = await serve(t)
    const seen: string[] = []
    for (let next: string | undefined = "/vms?limit=2&label=role%3Dedge"; next; ) {
      const answer: Response = await fetch(new URL(next, base))
      const page = (await answer.json()) as { items: { vmId: string }[]; nextCursor: string | null; total: number }
      assert.equal(page.total, 3)
      seen.push(...page.items.map(({ vmId }) => vmId))
      next = /^<(.+)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1]
      assert.equal(next === undefined, page.nextCursor === null)
      if (next) assert.match(next, /^\/vms\?limit=2&label=role%3Dedge&cursor=/)
    }
    assert.deepEqual(seen, ["vm01", "vm02", "vm03"])
  })

  const labels: readonly [string, number][] = [
    ["label=role=edge", 3],
    ["label=role=edge&label=role=edge", 3],
    ["label=role=edge&label=role=core", 0],
    ["label=role=core", 0],
    ["label=__proto__=x", 0],
    ["label=toString=x", 0],
  ]
  for (const [query, count] of labels) {
    test(`?${query} finds ${count}`, async (t) => {
      const page = (await (await fetch(`${await serve(t)}/vms?${query}`)).json()) as { items: unknown[] }
      assert.equal(page.items.length, count)
    })
  }

  for (const query of [
    ...["limit=0", "limit=501", "limit=1e2", "limit=0x10", "limit=+5", "limit=1.0", "limit=", "limit=1e9", "limit=-1"],
    ...["limit=1&limit=2", "cursor=", "cursor=a&cursor=b", "cursor=!!", "cursor=Li4v", "cursor=dm0wMQ==", "label=role"],
    ...["label==x", "labels=a=b", `cursor=${"a".repeat(600)}`],
  ]) {
    test(`refuses ?${query}`, async (t) => {
      const answer = await fetch(`${await serve(t)}/vms?${query}`)
      assert.equal(answer.status, 400)
      assert.equal((await problemOf(answer)).code, "invalid_parameter")
    })
  }
})

suite("lists of what the settings name", () => {
  const schema = { file: "x.json", digest: liveDigest, title: null, hasSecrets: false }
  const config = { path: "/x", format: "yaml", schema: false, lastBackupAt: null } as const
  const types = ["a", "b", "b.c"]
  const services = standIns({
    vms: { configs: async () => types.map((type) => ({ ...config, type })) },
    schemas: { list: () => types.map((type) => ({ ...schema, type })) },
  })
  for (const path of ["/vms/vm01/configs", "/schemas"]) {
    test(`${path} is paged by type`, async (t) => {
      const base = await serve(t, services)
      const first = await fetch(`${base}${path}?limit=2`)
      const { items, nextCursor } = (await first.json()) as { items: { type: string }[]; nextCursor: string }
      assert.deepEqual(
        items.map(({ type }) => type),
        ["a", "b"],
      )
      assert.equal(first.headers.get("link"), `<${path}?limit=2&cursor=${nextCursor}>; rel="next"`)
      const last = await fetch(`${base}${path}?cursor=${nextCursor}`)
      assert.partialDeepStrictEqual(await last.json(), { items: [{ type: "b.c" }], nextCursor: null })
      assert.equal(last.headers.get("link"), null)
    })

    for (const query of ["limit=0", "cursor=!!", "label=a=b"]) {
      test(`${path} refuses ?${query}`, async (t) => {
        const answer = await fetch(`${await serve(t, services)}${path}?${query}`)
        assert.deepEqual([answer.status, (await problemOf(answer)).code], [400, "invalid_parameter"])
      })
    }
  }
})

suite("GET /backups", () => {
  test("takes times that are finer than its own as the limits that they are", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    const fine = "2026-01-02T03:04:05.6780001Z"
    await (await fetch(`${base}/backups?vmId=vm01&type=central&since=${fine}&until=${fine}&at=${fine}`)).text()
    const [{ since, until, at } = {}] = given(calls) as [Record<string, unknown>?]
    const [before, after] = ["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z"]
    assert.deepEqual([since, until, at], [after, after, before])
    const whole = "2026-01-02T03:04:05.678000Z"
    calls.length = 0
    await (await fetch(`${base}/backups?since=${whole}&until=${whole}`)).text()
    assert.partialDeepStrictEqual(given(calls)[0], { since: before, until: before })
  })

  test("sends what the catalog built, and a link that keeps every parameter", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    const query = "vmId=vm01&type=central&since=2026-01-02T03:04:05%2B01:00&pinned=false&trigger=found&state=damaged"
    const answer = await fetch(`${base}/backups?${query}`)
    assert.equal(await answer.text(), `{"items":[${versionJson}],"nextCursor":"abc"}`)
    const link = answer.headers.get("link") ?? ""
    assert.match(
      link,
      /^<\/backups\?vmId=vm01&type=central&since=.*&pinned=false&trigger=found&state=damaged&cursor=abc>; rel="next"$/,
    )
    const [filter, page] = given(calls) as [Record<string, unknown>, unknown]
    assert.equal(filter.since, "2026-01-02T02:04:05.000Z")
    assert.equal(filter.pinned, false)
    assert.equal(filter.state, "damaged")
    assert.deepEqual(page, { limit: 50, cursor: null })
  })

  for (const query of [
    ...[
      "at=2026-01-02T03:04:05Z",
      "at=2026-01-02T03:04:05Z&vmId=vm01",
      "since=yesterday",
      "since=2026-13-01T00:00:00Z",
      "since=2026-02-30T00:00:00Z",
      "until=2026-02-28T24:00:00Z",
    ],
    ...["since=2026-01-01", "since=2026-01-01T00:00:60Z", "until=2026-01-01T00:00:00", "trigger=foo", "pinned=1"],
    ...["state=lost", "state=", "state=damaged&state=missing"],
    ...["vmId=..%2f..", "type=%00", "vmId=%EF%BC%91", "select=x"],
    // In UTC these are of the year 10000 and of the year before 0000.
    ...["since=9999-12-31T23:59:59-23:59", "until=9999-12-31T23:59:59-00:01", "since=0000-01-01T00:00:00%2B00:01"],
    "vmId=vm01&type=central&at=9999-12-31T23:59:59-23:59",
  ]) {
    test(`refuses ?${query}`, async (t) => {
      const answer = await fetch(`${await serve(t)}/backups?${query}`)
      assert.equal((await problemOf(answer)).code, "invalid_parameter")
    })
  }
})

suite("POST /backups", () => {
  test("answers 201 with Location for a new version, 200 without for the newest one", async (t) => {
    const created = await create(await serve(t), '{"vmId":"vm01","type":"central"}')
    assert.deepEqual([created.status, created.headers.get("location")], [201, `/backups/${backupId}`])
    assert.equal(await created.text(), versionJson)
    const same = standIns({ backups: { create: async () => ({ made: false, backupId, json: versionJson }) } })
    const again = await create(await serve(t, same), '{"vmId":"vm01","type":"central"}')
    assert.deepEqual([again.status, again.headers.get("location")], [200, null])
  })

  test("lets the reason of the body win over the header's", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    await create(base, '{"vmId":"vm01","type":"central","reason":"body"}', { "x-change-reason": "header" })
    await create(base, '{"vmId":"vm01","type":"central"}', { "x-change-reason": "header" })
    assert.deepEqual(
      calls.map((call) => (call.with[1] as Caller).reason),
      ["body", "header"],
    )
  })

  const refused: readonly [string, string, string][] = [
    ["{", "malformed_json", ""],
    ["null", "invalid_body", ""],
    ["[]", "invalid_body", ""],
    ["{}", "invalid_body", ""],
    ["", "invalid_body", ""],
    ['{"vmId":"vm01"}', "invalid_body", ""],
    ['{"vmId":"vm01","type":"central","select":{}}', "invalid_body", "/vmId"],
    ['{"vmId":"vm01","type":["central"]}', "invalid_body", "/type"],
    ['{"vmId":"../x","type":"central"}', "invalid_body", "/vmId"],
    ['{"vmId":1,"type":"central"}', "invalid_body", "/vmId"],
    [`{"vmId":"vm01","type":"central","reason":"${"a".repeat(201)}"}`, "invalid_body", "/reason"],
    ['{"vmId":"vm01","type":"central","reason":"a\\nb"}', "invalid_body", "/reason"],
    ['{"vmId":"vm01","type":"central","reason":null}', "invalid_body", "/reason"],
  ]
  for (const [body, code, pointer] of refused) {
    test(`refuses ${body.slice(0, 60)}`, async (t) => {
      const calls: Call[] = []
      const answer = await create(await serve(t, standIns({}, calls)), body)
      const problem = await problemOf(answer)
      assert.equal(problem.code, code)
      if (code === "invalid_body") assert.equal((problem.errors as { pointer: string }[])[0]?.pointer, pointer)
      assert.deepEqual(calls, [])
    })
  }

  test("refuses members that are not sent as JSON", async (t) => {
    const base = await serve(t)
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]) {
      assert.equal((await create(base, '{"vmId":"vm01","type":"central"}', { "content-type": type })).status, 415)
    }
  })
})

suite("calls without members", () => {
  for (const path of ["/vms/vm01/check", `/backups/${backupId}/verify`, `/backups/${backupId}/restore`]) {
    test(`${path} takes no body whatever its Content-Type, and {}`, async (t) => {
      const base = await serve(t)
      for (const type of ["text/html", "application/json", "application/x-www-form-urlencoded", "json", ";"]) {
        const headers = { "content-type": type }
        assert.equal((await fetch(`${base}${path}`, { method: "POST", headers, body: "" })).status, 200)
      }
      assert.equal((await fetch(`${base}${path}`, { method: "POST" })).status, 200)
      const headers = { "content-type": "application/json" }
      assert.equal((await fetch(`${base}${path}`, { method: "POST", headers, body: "{}" })).status, 200)
    })

    test(`${path} refuses a body under a Content-Type that cannot be read`, async (t) => {
      const headers = { "content-type": "json" }
      const answer = await fetch(`${await serve(t)}${path}`, { method: "POST", headers, body: "{}" })
      assert.deepEqual([answer.status, (await problemOf(answer)).code], [415, "unsupported_media_type"])
    })

    for (const [body, code] of [
      ['{"x":1}', "invalid_body"],
      ["null", "invalid_body"],
      ["[]", "invalid_body"],
      ["{", "malformed_json"],
    ] as const) {
      test(`${path} refuses ${body}`, async (t) => {
        const headers = { "content-type": "application/json" }
        const answer = await fetch(`${await serve(t)}${path}`, { method: "POST", headers, body })
        assert.equal((await problemOf(answer)).code, code)
      })
    }
  }
})

suite("restore and diff of a backup", () => {
  test("restore hands VM, switch and precondition on", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    const answer = await fetch(`${base}/backups/${backupId}/restore?dryRun=true`, {
      method: "POST",
      headers: { "content-type": "application/json", "if-match": "*" },
      body: '{"vmId":"vm02"}',
    })
    assert.equal(answer.status, 200)
    const precondition = { ifMatch: "*", createOnly: false }
    assert.deepEqual(given(calls).slice(0, 2), [backupId, { vmId: "vm02", dryRun: true, precondition }])
  })

  test("diff is against the live file unless something else is named", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    await fetch(`${base}/backups/${backupId}/diff`)
    await fetch(`${base}/backups/${backupId}/diff?against=previous`)
    assert.deepEqual(
      calls.map((call) => call.with[1]),
      ["live", "previous"],
    )
    assert.equal((await fetch(`${base}/backups/${backupId}/diff?against=..%2f`)).status, 400)
  })

  test("content is answered as a config's is", async (t) => {
    const answer = await fetch(`${await serve(t)}/backups/${backupId}/content`, { headers: { accept: "text/yaml" } })
    assert.equal(await answer.text(), "a: 1\n")
    assert.equal(answer.headers.get("x-config-mode"), "0640")
    assert.equal(answer.headers.get("cache-control"), "private, no-cache")
  })
})

suite("ids in the path", () => {
  const ids: readonly [string, number][] = [
    ["..%2f..%2fetc", 400],
    ["%00", 400],
    ["%0d%0aX:1", 400],
    ["%EF%BC%91", 400],
    ["10.0.0.5:22", 400],
    ["__proto__", 400],
    ["a".repeat(200), 400],
    ["a".repeat(257), 414],
    ["%zz", 400],
    ["%ff", 400],
    ["constructor", 404],
    ["", 404],
  ]
  for (const [id, status] of ids) {
    test(`${id.slice(0, 20)} (${id.length} long) is ${status}`, async (t) => {
      const base = await serve(t)
      for (const path of [`/vms/${id}`, `/vms/${id}/configs/central`, `/vms/vm01/configs/${id}`]) {
        const answer = await fetch(`${base}${path}`)
        assert.ok([status, 400, 404].includes(answer.status) && (id === "" || answer.status === status), path)
        assert.equal(answer.headers.get("content-type"), "application/problem+json")
      }
    })
  }

  test("the content of a backup that cannot be parsed is never 304 as JSON", async (t) => {
    const content = {
      ...(await standIns().backups.content(backupId)),
      document(): never {
        throw new Fault("config_unparsable", "Line 1 cannot be parsed.")
      },
    }
    const base = await serve(t, standIns({ backups: { content: async () => content } }))
    for (const held of ["*", `"${liveDigest}-json"`]) {
      const headers = { "if-none-match": held }
      const answer = await fetch(`${base}/backups/${backupId}/content`, { headers })
      assert.equal((await problemOf(answer)).code, "config_unparsable", held)
    }
  })

  test("unknown records are 404 by their own code", async (t) => {
    const base = await serve(t)
    assert.equal((await problemOf(await fetch(`${base}/backups/nope`))).code, "backup_not_found")
    assert.equal((await problemOf(await fetch(`${base}/operations/nope`))).code, "operation_not_found")
    assert.equal((await fetch(`${base}/operations/${operationId}`)).status, 200)
  })
})

suite("operations, schemas, health", () => {
  test("operations are filtered by what the query says", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    assert.equal((await fetch(`${base}/operations?kind=write&state=failed&limit=7`)).status, 200)
    assert.equal((given(calls)[0] as { kind: string }).kind, "write")
    for (const query of ["kind=nope", "state=nope", "since=x", "since=9999-12-31T23:59:59-23:59", "actor=x"]) {
      assert.equal((await fetch(`${base}/operations?${query}`)).status, 400, query)
    }
  })

  test("a schema is sent byte for byte, and not again to who has it", async (t) => {
    const base = await serve(t)
    const answer = await fetch(`${base}/schemas/central`)
    assert.match(answer.headers.get("content-type") ?? "", /^application\/schema\+json/)
    assert.equal(await answer.text(), '{"type":"object"}')
    const headers = { "if-none-match": answer.headers.get("etag") ?? "" }
    assert.equal((await fetch(`${base}/schemas/central`, { headers })).status, 304)
  })

  test("readiness is 503 with its checks where something is wrong; health stays 200", async (t) => {
    const unready = { ready: false, degraded: true, checks: [] }
    const base = await serve(t, standIns({ health: { readiness: async () => unready } }))
    const answer = await fetch(`${base}/readyz`)
    assert.equal(answer.status, 503)
    assert.deepEqual(await answer.json(), unready)
    assert.deepEqual(await (await fetch(`${base}/healthz`)).json(), { status: "ok" })
  })
})

function create(base: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${base}/backups`, { method: "POST", body, headers: { "content-type": "application/json", ...headers } })
}
