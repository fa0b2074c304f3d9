import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"

interface LockedPackage {
  readonly version?: string
  readonly resolved?: string
  readonly optional?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly hasInstallScript?: boolean
}

const root = join(import.meta.dirname, "..")
const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
  readonly packages: Readonly<Record<string, LockedPackage>>
}

test("every optional dependency that is named is locked, so that the lockfile works on other platforms too", () => {
  const missing = Object.entries(packages).flatMap(([path, locked]) =>
    Object.keys(locked.optionalDependencies ?? {})
      .filter((name) => !isLocked(path, name))
      .map((name) => `${path || "the project"} names ${name}`),
  )
  assert.deepEqual(missing, [])
})

test("the lockfile names no address that packages were fetched from", () => {
  const named = Object.entries(packages).filter(([, { resolved }]) => resolved !== undefined)
  assert.deepEqual(
    named.map(([path]) => path),
    [],
  )
})

test("every dependency is locked to one version", () => {
  const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Readonly<
    Record<string, Record<string, string>>
  >
  const loose = ["dependencies", "devDependencies", "optionalDependencies"].flatMap((kind) =>
    Object.entries(own[kind] ?? {}).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version)),
  )
  assert.deepEqual(loose, [])
})

/** Looked for as Node looks for modules: beside the one that names it, then further out. */
function isLocked(path: string, name: string): boolean {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    if (`${at}${at ? "/" : ""}node_modules/${name}` in packages) return true
    if (at === "") return false
    if (!at.includes("/node_modules/")) return `node_modules/${name}` in packages
  }
}
