import type { Fault } from "../../src/domain/fault.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { Version } from "../../src/domain/version.ts"
import type { Rig } from "./rig.ts"

/** What stands on the VM or is a version that opens. */
export async function everywhere(rig: Rig): Promise<readonly string[]> {
  const open = (version: Version) =>
    rig.blobs.open(version).then(
      ({ bytes }) => [bytes.toString()],
      () => [],
    )
  const kept = await Promise.all((await rig.versions()).map(open))
  return [...[...rig.transport.files.values()].map(({ bytes }) => bytes.toString()), ...kept.flat()]
}

/** The operation that a fault tells of, once it has ended. */
export function ended(rig: Rig, { details }: Fault): Promise<Operation> {
  return rig.end(({ operationId }) => operationId === details.operationId)
}
