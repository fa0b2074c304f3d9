import { Fault } from "../domain/fault.ts"

/** Why the bytes of a push do not stand on the VM, in sentences. */

export function notApplied(): Fault {
  return new Fault(
    "connection_lost",
    "The connection to the VM was lost before the new bytes were in place; the file is as it was.",
  )
}

export function notDone(): Fault {
  return new Fault(
    "write_failed",
    "The VM said that the new bytes are in place, but what stood there before stands there; the file is as it was.",
  )
}

export function takenBack(): Fault {
  return new Fault(
    "write_failed",
    "The file was not as it should be after it was put in place (bytes, mode and owner); the old one was put back.",
  )
}

export function edited(): Fault {
  return new Fault(
    "concurrent_modification",
    "Somebody else changed the file on the VM just before the new bytes were put in place; what they wrote was put back.",
  )
}

export function neither(): Fault {
  return new Fault(
    "concurrent_modification",
    "What stands on the VM is neither what stood there before nor what was to be put there: somebody else changed it meanwhile. It was left as it is.",
  )
}

export function foreign(): Fault {
  return new Fault(
    "concurrent_modification",
    "The new bytes stand on the VM, but nothing shows that this change put them there: somebody else may have. They were left as they are.",
  )
}

export function movedAway(): Fault {
  return new Fault(
    "outcome_unknown",
    "The VM has another address, jump host or SSH user now than the one that this change was sent to, and may be another machine: nothing is taken back there. Look at the file.",
  )
}

export function oldOnesGone(cause: Fault): Fault {
  return new Fault(
    "rollback_failed",
    `The new file did not keep its mode and owner, and no version gives the old bytes back (${cause.code}): the new ones stand there.`,
    { cause },
  )
}

/** @param isNew whether the new bytes are seen to stand there */
export function rollbackFailed(cause: unknown, isNew: boolean): Fault {
  const how = isNew ? "the old one could not be put back" : "putting the old one back did not come to its end"
  const sentence = `The new file could not be given its mode and owner, and ${how}; this is tried again until it works.`
  return new Fault("rollback_failed", sentence, { cause, fileState: isNew ? "written" : "unknown" })
}
