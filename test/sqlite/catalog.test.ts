import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { catalogContract } from "../contracts/catalog.ts"
import { migrationsDir } from "./migrations.ts"

catalogContract("SqliteCatalog", async () => {
  const dir = await mkdtemp(join(tmpdir(), "catalog-"))
  const catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
  return {
    catalog,
    close: async () => {
      catalog.close()
      await rm(dir, { recursive: true })
    },
  }
})
