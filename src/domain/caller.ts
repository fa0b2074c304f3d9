/** Who asked, and for how long they wait. */
export interface Caller {
  /** Token name; `anonymous` where no tokens are set; `config_manager` for the service's own work. */
  readonly actor: string
  readonly requestId: string
  /** Up to 200 characters, kept with the operation and the version. */
  readonly reason: string | null
  /** Aborts when the caller hangs up. */
  readonly signal: AbortSignal
}

/** What the caller demands of the live file (RFC 9110, 13.1): digests of any view of it, or `*`. */
export interface Precondition {
  readonly ifMatch: "*" | readonly string[] | null
  /** `If-None-Match: *`: create only. */
  readonly createOnly: boolean
}
