/** Ids in URLs: of VMs and of config types (API 1). */
export const idPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/** A way through another SSH host: `user@host:port`. */
export interface ProxyJump {
  readonly user: string
  readonly host: string
  readonly port: number
}

/** A machine of the fleet, every default filled in. */
export interface Vm {
  readonly vmId: string
  readonly name: string
  /** An IP address or a host name. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly role: string | null
  /** `role` is among them. */
  readonly labels: Readonly<Record<string, string>>
  readonly enabled: boolean
  /** Pinned fingerprints as `SHA256:<base64, no padding>`; empty: known_hosts decides. */
  readonly hostKeys: readonly string[]
  /** This VM's own `private_key_path`; null: found by the original's naming (DESIGN 2). */
  readonly privateKeyPath: string | null
  readonly proxyJump: ProxyJump | null
}
