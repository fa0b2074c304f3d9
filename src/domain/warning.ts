/** Something a caller should know about a call that succeeded. */
export interface Warning {
  readonly code: WarningCode
  readonly message: string
  readonly pointer?: string
  /** From 1. */
  readonly line?: number
  /** From 1. */
  readonly column?: number
}

export type WarningCode =
  | "ambiguous_yaml"
  | "comments_lost"
  | "origin_unproved"
  | "types_changed"
  | "no_schema"
  | "not_validated"
  | "owner_changed"
  | "attributes_changed"
  | "not_parsable"
  | "foreign_staging_file"
  | "version_not_kept"
  | "suspect_empty"
