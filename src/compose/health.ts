import type { Totals } from "../domain/catalog.ts"

export function versionsHealth({ versions, damaged, missing, locked }: Totals): {
  readonly ok: boolean
  readonly detail: string
} {
  if (damaged + missing + locked === 0) return { ok: true, detail: `None of ${versions} versions is known to be lost.` }
  const detail =
    `Of ${versions} versions ${damaged} are damaged, ${missing} missing, ${locked} sealed with a key that is not loaded: ` +
    "GET /backups?state=damaged (or missing, locked) lists them."
  return { ok: false, detail }
}

export function settingsHealth(refusal: string | null): { readonly ok: boolean; readonly detail: string } {
  if (refusal === null) return { ok: true, detail: "The settings in force are those that were last read." }
  return { ok: false, detail: `The last reload was refused, older settings are in force: ${refusal}` }
}
