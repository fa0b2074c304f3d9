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
  /** Bytes; null: not known, since no loaded key opens it. */
  readonly size: number | null
  /** SHA-256 of the bytes; null: not known, since no loaded key opens it. */
  readonly digest: string | null
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
  /** 32 hex digits: of the key that sealed it; null for a legacy backup that no loaded key opens. */
  readonly keyId: string | null
  readonly format: "cmb1" | "legacy"
  readonly verifiedAt: string | null
  readonly state: VersionState
}

/** A version about to be entered; the catalog fills in the rest. */
export type NewVersion = Omit<Version, "supersededAt" | "note" | "pinned" | "verifiedAt" | "state"> & {
  readonly size: number
  readonly digest: string
  /** Provisional versions are in no list and no look-up until they are shown: their change has not succeeded yet. */
  readonly provisional: boolean
}

/** A version that stands in the store and is entered at its place in time; the catalog fills in the rest. */
export type ImportedVersion = Omit<Version, "supersededAt" | "note" | "pinned">

/** A version as its row tells, and whether the row is whole. */
export interface StoredVersion extends Version {
  /** False: the row does not have the check value it was entered with, so nothing of it can be relied on. */
  readonly intact: boolean
}
