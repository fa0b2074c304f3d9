import { fileURLToPath } from "node:url"

/** The migrations that are shipped. */
export const migrationsDir = fileURLToPath(new URL("../../migrations", import.meta.url))
