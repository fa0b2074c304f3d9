import type { Precondition } from "../domain/caller.ts"
import type { ConfigType } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { Located } from "../domain/inventory.ts"

/** What can be refused without asking the VM. @throws {Fault} `vm_disabled`, `precondition_required` */
export function requireAllowed({ vm, type }: Located, precondition: Precondition): void {
  requireEnabled(vm)
  if (!type.requireIfMatch || precondition.ifMatch !== null || precondition.createOnly) return
  throw new Fault(
    "precondition_required",
    `Configs of type ${type.type} are changed only with If-Match. Read the file first, then send its ETag: ` +
      `curl -X PUT -H 'If-Match: "<digest>"' -T FILE .../vms/${vm.vmId}/configs/${type.type}`,
    { fileState: "unchanged" },
  )
}

/** @throws {Fault} `vm_disabled` */
export function requireEnabled(vm: Located["vm"]): void {
  if (!vm.enabled) throw new Fault("vm_disabled", `VM ${vm.vmId} is switched off in the settings (enabled: false).`)
}

/**
 * RFC 9110, 13.1.1 and 13.1.2, on what stands on the VM.
 * @param digest of the live file; null: none stands there
 * @throws {Fault} `precondition_failed` with `currentDigest`
 */
export function requirePrecondition(precondition: Precondition, digest: string | null): void {
  const refuse = (why: string): never => {
    throw new Fault("precondition_failed", why, { currentDigest: digest, fileState: "unchanged" })
  }
  if (precondition.createOnly && digest !== null)
    refuse("The file exists, and If-None-Match: * allows creating it only.")
  const { ifMatch } = precondition
  if (ifMatch === null) return
  if (digest === null) refuse("No file stands on the VM, so nothing can match If-Match.")
  else if (ifMatch !== "*" && !ifMatch.includes(digest)) {
    refuse(
      "The file on the VM is not the one that If-Match names: it was changed since, or the tag never was one of its ETags. Read it again.",
    )
  }
}

/** @throws {Fault} `body_too_large` */
export function requireFit(bytes: Uint8Array, type: ConfigType): void {
  if (bytes.length <= type.maxBytes) return
  throw new Fault(
    "body_too_large",
    `The config would have ${bytes.length} bytes; type ${type.type} allows ${type.maxBytes} (max_bytes).`,
    { fileState: "unchanged" },
  )
}
