import type { RunReport } from "./frame.ts"

/** @param report a JSON line for each run, as `faultRun` writes them @returns the text of docs/faults.md */
export function faultTable(report: string, scale: string): string {
  const runs = report
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as RunReport)
    .sort((a, b) => numberOf(a) - numberOf(b) || (a.name < b.name ? -1 : 1))
  const rows = runs.map(({ id, name, counts, seconds, failure }) => {
    const { runs: done, lost, torn, hangs, "wrong outcomes": wrong } = counts
    const cells = [
      `${id} ${name}${failure === null ? "" : " **(failed)**"}`,
      done,
      lost,
      torn,
      hangs,
      wrong,
      `${seconds} s`,
    ]
    return `| ${cells.join(" | ")} |`
  })
  const command = scale === "nightly" ? "bash scripts/faults.sh report nightly" : "npm run faults"
  return `${head.replace("COMMAND", command)}${rows.join("\n")}\n`
}

const head = `# Faults, survived

Written by \`COMMAND\`; do not edit. "Lost": a content that was acknowledged, or that stood before, and can no longer be had
from the VM or a backup. "Torn": a live file equal to neither old nor new. "Runs": how many faults were injected, or how
many times a run was repeated. Each run ends with an audit of the files, the blobs and the catalog (\`test/faults/auditor.ts\`).

| fault | runs | lost | torn | hangs | wrong outcomes | time |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
`

function numberOf({ id }: RunReport): number {
  return Number(id.slice(1))
}
