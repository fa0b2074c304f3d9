// Prints docs/faults.md from the lines that the fault runs have reported: `node scripts/faults-table.ts REPORT ci|nightly`.
import { readFileSync } from "node:fs"
import { faultTable } from "../test/faults/table.ts"

const [file = "", scale = "ci"] = process.argv.slice(2)
process.stdout.write(faultTable(readFileSync(file, "utf8"), scale))
