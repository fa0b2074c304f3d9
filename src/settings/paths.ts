import { resolve } from "node:path"

/** Where relative paths and `~` lead. */
export interface Environment {
  /** Home directory of the user the service runs as. */
  readonly home: string
  /** Working directory: relative paths in the settings count from here. */
  readonly cwd: string
}

/** Makes a path of the settings absolute. */
export type LocalPath = (path: string) => string

export function localPathIn({ home, cwd }: Environment): LocalPath {
  return (path) => (path === "~" || path.startsWith("~/") ? resolve(home, `.${path.slice(1)}`) : resolve(cwd, path))
}

/** Empty or left out: null. */
export function optionalPath(path: string | undefined, local: LocalPath): string | null {
  return path ? local(path) : null
}
