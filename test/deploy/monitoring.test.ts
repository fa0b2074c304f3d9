import assert from "node:assert/strict"
import { execFile, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, test } from "node:test"
import { promisify } from "node:util"
import { load } from "js-yaml"
import { documented, metricOf } from "../support/metrics.ts"
import { makeTemporary } from "../support/temporary.ts"

const deploy = join(import.meta.dirname, "..", "..", "deploy")
const rulesFile = join(deploy, "prometheus", "rules.yml")
const rulesTestFile = join(deploy, "prometheus", "rules.test.yml")

interface Alert {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly runbook: string }
}

interface Panel {
  readonly title: string
  readonly type: string
  readonly targets?: readonly { readonly expr: string }[]
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}

const { groups } = load(readFileSync(rulesFile, "utf8")) as { groups: readonly { readonly rules: readonly Alert[] }[] }
const alerts = groups.flatMap(({ rules }) => rules)
const dashboard = JSON.parse(readFileSync(join(deploy, "grafana", "config-manager.json"), "utf8")) as {
  readonly uid: string
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] }
}
const panels = dashboard.panels.filter(({ type }) => type !== "row")
const variables = dashboard.templating.list.flatMap(({ definition }) => (definition ? [definition] : []))
const dashboardQueries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
const queries = [...alerts.map(({ expr }) => expr), ...dashboardQueries, ...variables]

/** @throws {AssertionError} with what promtool said */
async function promtool(...args: readonly string[]): Promise<void> {
  const { error } = spawnSync("promtool", ["--version"])
  assert.equal(
    error,
    undefined,
    'promtool is not installed: run "npm run setup" (it is in the Debian package prometheus)',
  )
  await promisify(execFile)("promtool", args).catch(({ stdout, stderr }) => assert.fail(`${stdout}${stderr}`))
}

suite("deploy/prometheus", () => {
  test("promtool accepts the rules", () => promtool("check", "rules", rulesFile))

  test("each alert fires when it should and only then (promtool test rules)", () =>
    promtool("test", "rules", rulesTestFile))

  test("each alert is seen firing, and seen silent", () => {
    const { tests } = load(readFileSync(rulesTestFile, "utf8")) as {
      tests: readonly { promql_expr_test: readonly { expr: string; exp_samples: readonly unknown[] }[] }[]
    }
    const seen = tests.flatMap(({ promql_expr_test }) => promql_expr_test)
    const missing = alerts.flatMap(({ alert }) => {
      const own = seen.filter(({ expr }) => expr === `ALERTS{alertname="${alert}", alertstate="firing"}`)
      const fires = own.some(({ exp_samples }) => exp_samples.length > 0)
      const isSilent = own.some(({ exp_samples }) => exp_samples.length === 0)
      return fires && isSilent ? [] : [alert]
    })
    assert.deepEqual(missing, [])
  })

  test("each alert says how bad it is, what is the matter and what to do", () => {
    for (const { alert, labels, annotations } of alerts) {
      assert.match(alert, /^ConfigManager[A-Z]/)
      assert.match(labels.severity, /^(critical|warning)$/, alert)
      assert.match(annotations.summary, /\S/, alert)
      assert.match(annotations.runbook, /^[A-Z].{40,}\.$/, alert)
    }
  })
})

suite("deploy/grafana", () => {
  test("promtool accepts every query of the dashboard", async () => {
    const rules = dashboardQueries.map((expr, index) => ({
      record: `query:${index}`,
      expr: expr
        .replaceAll("$__rate_interval", "5m")
        .replaceAll("$instance", ".*")
        .replaceAll("$job", "config-manager"),
    }))
    const file = join(makeTemporary("dashboard"), "queries.yml")
    await writeFile(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] }))
    await promtool("check", "rules", file)
  })

  test("every panel asks something, with a name of its own, and none lies over another", () => {
    assert.equal(dashboard.uid, "config-manager")
    assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length)
    for (const { title, targets } of panels) assert.ok(targets?.length, title)
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    )
    assert.equal(new Set(cells).size, cells.length)
  })

  test("asks the data source, job and instance that were chosen", () => {
    assert.deepEqual(
      dashboard.templating.list.map(({ name }) => name),
      ["datasource", "job", "instance"],
    )
    for (const expr of dashboardQueries) {
      const selectors = expr.match(/config_manager_\w+(\{[^}]*\})?/g) ?? []
      for (const selector of selectors) assert.match(selector, /\{job="\$job", instance=~"\$instance"[,}]/, expr)
    }
  })
})

suite("what the queries ask for", () => {
  const metrics = documented()
  const histograms = new Set(metrics.filter(({ type }) => type === "histogram").map(({ name }) => name))

  test("is a metric that exists", () => {
    const known = new Set(metrics.map(({ name }) => name))
    const asked = queries.flatMap((expr) => expr.match(/\bconfig_manager_\w+/g) ?? [])
    assert.ok(asked.length > 50)
    assert.deepEqual(
      asked.filter((name) => !known.has(metricOf(name, histograms))),
      [],
    )
  })

  test("takes rates of counters and histograms only, and no bare value of them", () => {
    const wrong = queries.flatMap((expr) => {
      const rated = [...expr.matchAll(/\b(?:rate|increase)\((\w+)/g)].map(([, name]) => name)
      return (expr.match(/\bconfig_manager_\w+/g) ?? []).filter((name) => {
        const { type } = metrics.find((metric) => metric.name === metricOf(name, histograms)) ?? {}
        return (type !== "gauge") !== rated.includes(name)
      })
    })
    assert.deepEqual(wrong, [])
  })

  test("has the labels that are asked for", () => {
    const common = ["job", "instance", "le"]
    const known = new Set([...common, ...metrics.flatMap(({ labels }) => labels)])
    const selected = queries.flatMap((expr) =>
      [...expr.matchAll(/(config_manager_\w+)\{([^}]*)\}/g)].flatMap(([, name = "", selectors = ""]) =>
        [...selectors.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]) => ({ name, label })),
      ),
    )
    const wrong = selected.filter(({ name, label }) => {
      const own = metrics.find((metric) => metric.name === metricOf(name, histograms))?.labels ?? []
      return !common.includes(label) && !own.includes(label)
    })
    assert.deepEqual(wrong, [])
    const grouped = queries.flatMap((expr) =>
      [...expr.matchAll(/\b(?:by|on|group_left) \(([^)]*)\)/g)].flatMap(([, labels = ""]) => labels.split(/,\s*/)),
    )
    assert.deepEqual(
      grouped.filter((label) => label !== "" && !known.has(label)),
      [],
    )
  })
})
