/** What made a version. */
export type Trigger = "written" | "found" | "manual" | "scheduled" | "imported"

/** Whether a version's bytes can be had: `locked` = no loaded key opens it. */
export type VersionState = "ok" | "damaged" | "missing" | "locked"

/** Exact bytes that stood on a VM, sealed: what the catalog keeps of them (API 4). Times: RFC 3339 UTC with ms. */
export interface Version {
  readonly backupId: string
  readonly vmId: string
  readonly type: string
  readonly path: string
  /** When the bytes were first seen or put there. Strictly rising per config. */
  readonly validFrom: string
  /** When other bytes took their place; null: newest. */
  readonly supersededAt: string | null
  readonly size: number
  readonly digest: string
  /** Permission bits; null for a legacy backup. */
  readonly mode: number | null
  readonly uid: number | null
  readonly gid: number | null
  readonly trigger: Trigger
  readonly reason: string | null
  readonly note: string | null
  readonly actor: string
  readonly operationId: string | null
  readonly pinned: boolean
  /** 32 hex digits. */
  readonly keyId: string
  readonly format: "cmb1" | "legacy"
  readonly verifiedAt: string | null
  readonly state: VersionState
}

/** A version about to be entered; the catalog fills in the rest. */
export type NewVersion = Omit<Version, "supersededAt" | "note" | "pinned" | "verifiedAt" | "state"> & {
  /** Provisional versions are in no list and no look-up until they are shown: their change has not succeeded yet. */
  readonly provisional: boolean
}
