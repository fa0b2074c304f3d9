import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { generatedParts, withParts } from "../test/support/docs.ts"

/** `npm run docs`: writes the tables of README.md that come from the code. */
const file = join(import.meta.dirname, "..", "README.md")
await writeFile(file, withParts(await readFile(file, "utf8"), generatedParts()))
