import assert from "node:assert/strict"
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { appendFile } from "node:fs/promises"
import { join } from "node:path"
import type { Sshd } from "../support/sshd.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { itemsOf, type Json, type Send } from "./client.ts"
import { eventually, type World } from "./world.ts"

export const markerName = "config-manager-copies.txt"
const marks: readonly string[] = [markerName, "config-manager-service.txt"]
export const isMark = (name: string): boolean => marks.includes(name)

/** Puts a file there, and every text of `texts` over it, each a version. */
export async function keep(world: World, vmId: string, first: string, ...texts: readonly string[]): Promise<void> {
  writeFileSync(world.file(vmId), first)
  const backup = await world.send("POST", "/backups", { json: { vmId, type: "central" } })
  assert.equal(backup.status, 201, backup.text)
  for (const yaml of texts) {
    const put = await world.send("PUT", `/vms/${vmId}/configs/central`, { yaml })
    assert.equal(put.status, 200, put.text)
  }
}

export const versionsOf = async (send: Send): Promise<readonly Json[]> =>
  itemsOf(await send("GET", "/backups?limit=500"))

/** The check of /readyz on copies, and what is said of the whole. */
export async function copiesCheck(
  send: Send,
): Promise<{ readonly ok: boolean; readonly detail: string; readonly all: Json }> {
  const { body } = await send("GET", "/readyz")
  const checks = body.checks as readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[]
  const found = checks.find(({ name }) => name === "copies")
  assert.ok(found, "there is no check of copies")
  return { ...found, all: body }
}

/** Waits until every version has its copy. */
export async function allCopied(send: Send): Promise<void> {
  await eventually(
    () => copiesCheck(send),
    ({ ok, detail }) => ok && detail.endsWith("has a copy of every version."),
  )
}

/** Files below a directory, by their relative names, temporary ones too. */
export function filesBelow(directory: string): readonly string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => !entry.isDirectory())
  return files.map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1)).sort()
}

/** What stands at a place, once nothing is being written there: what counts the copies may be, when all are made. */
export function settledAt(place: string): Promise<readonly string[]> {
  return eventually(
    () => filesBelow(place),
    (names) => !names.some((name) => name.endsWith(".tmp")),
  )
}

/** What stands at a place with a copy of each of `versions`, and of the files beside them. */
export function copiesOf(versions: readonly Json[], ...beside: readonly string[]): readonly string[] {
  const blobs = versions.map(({ vmId, type, backupId }) => `${vmId}/${type}/${backupId}.cmb`)
  return [...blobs, ...marks, "keyring.json", ...beside].sort()
}

/** A directory for copies. */
export function makePlace(): { readonly path: string; remove(): Promise<void> } {
  const path = makeTemporary("copies")
  return { path, remove: () => removeTemporary(path) }
}

/** A directory for copies on another SSH host, which the service knows unless `known` is false. */
export async function makeFarPlace(
  world: World,
  far: Sshd,
  known = true,
): Promise<{ readonly path: string; readonly url: string }> {
  const path = join(far.root, "copies")
  mkdirSync(path)
  const { host, port, user, hostKeys } = far
  const line = `[${host}]:${port} ${hostKeys[0]?.publicKey}\n`
  if (known) await appendFile(world.sshd.knownHostsPath, line)
  return { path, url: `sftp://${user}@${host}:${port}${path}` }
}

/** From its next start on the service copies to `place`. */
export function copyTo(world: World, place: string): Promise<void> {
  return world.rewrite((settings) => ({
    ...settings,
    config_management: { ...(settings.config_management as Json), backup_remote_path: place },
  }))
}

/** As a machine that burned down: state and backups are gone; settings and key are there again. */
export function burnDown({ home }: World): void {
  for (const path of [home.state, home.backups]) rmSync(path, { recursive: true, force: true })
}
