import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { ValidationReport } from "../../src/domain/document-validator.ts"
import { AjvValidator } from "../../src/validation/validator.ts"
import type { ValidatorHarness } from "../contracts/document-validator.ts"

/** An AjvValidator over a temporary directory. */
export async function harness(timeLimitMs?: number): Promise<ValidatorHarness & { readonly validator: AjvValidator }> {
  const schemaDir = await mkdtemp(join(tmpdir(), "cm-schemas-"))
  return {
    validator: new AjvValidator({ schemaDir, ...(timeLimitMs === undefined ? {} : { timeLimitMs }) }),
    async writeSchema(file, text) {
      await mkdir(dirname(join(schemaDir, file)), { recursive: true })
      await writeFile(join(schemaDir, file), text)
    },
    dispose: () => rm(schemaDir, { recursive: true }),
  }
}

/** A validator over `files`, with those of `types` in force. */
export async function withSchemas(
  files: Readonly<Record<string, unknown>>,
  types: Readonly<Record<string, string>>,
  step: (validator: AjvValidator) => Promise<void>,
  timeLimitMs?: number,
): Promise<void> {
  const { validator, writeSchema, dispose } = await harness(timeLimitMs)
  try {
    for (const [file, schema] of Object.entries(files)) {
      await writeSchema(file, typeof schema === "string" ? schema : JSON.stringify(schema))
    }
    await validator.load(new Map(Object.entries(types)))
    await step(validator)
  } finally {
    await validator.close()
    await dispose()
  }
}

/** The first error for `value` under `schema`. */
export async function firstError(
  schema: unknown,
  value: unknown,
): Promise<ValidationReport["errors"][number] | undefined> {
  let report: ValidationReport | null = null
  await withSchemas({ "s.json": schema }, { t: "s.json" }, async (validator) => {
    report = await validator.validate("t", value)
  })
  return (report as ValidationReport | null)?.errors[0]
}
