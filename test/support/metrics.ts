import { readFileSync } from "node:fs"
import { join } from "node:path"

/** What one line of the Prometheus text format tells. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A metric as it is announced, or as docs/metrics.md has it. */
export interface Described {
  readonly name: string
  readonly type: string
  readonly help: string
}

export function samplesOf(text: string): readonly Sample[] {
  return [...text.matchAll(/^([a-z][a-z0-9_]*)(?:\{(.*)\})? (\S+)$/gm)].map(([, name = "", labels = "", value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, key, text]) => [key, text])),
    value: Number(value),
  }))
}

/** The value of the one series with this name and these labels, others besides allowed; undefined: there is none. */
export function readingOf(text: string, name: string, labels: Sample["labels"] = {}): number | undefined {
  const fits = samplesOf(text).filter(
    (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  )
  if (fits.length > 1) throw new Error(`${fits.length} series of ${name} fit`)
  return fits[0]?.value
}

export function announced(text: string): readonly Described[] {
  const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name ?? "", type ?? ""]))
  return [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name = "", help = ""]) => ({
    name,
    type: types.get(name) ?? "",
    help,
  }))
}

/** The rows of docs/metrics.md. */
export function documented(): readonly (Described & { readonly labels: readonly string[] })[] {
  const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "metrics.md"), "utf8")
  return [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$/gm)].map(
    ([, name = "", type = "", labels = "", help = ""]) => ({
      name,
      type,
      labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label ?? ""),
      help,
    }),
  )
}

/** What a sample belongs to: a histogram tells in three series. */
export function metricOf(sampleName: string, histograms: ReadonlySet<string>): string {
  const base = sampleName.replace(/_(bucket|sum|count)$/, "")
  return histograms.has(base) ? base : sampleName
}
