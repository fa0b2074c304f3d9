/**
 * The places in a push (DESIGN 3.2) at which a fault run may stop the process, in the order in which a push passes them.
 * `step N` in the comments is the design's.
 */
export const failpointNames = [
  "prepared", // after step 3: the journal knows of the push
  "blobs.temp", // in step 4: a temporary file is written and synced
  "blobs.placed", // in step 4: it has its own name, which is not synced yet
  "blobs.kept", // in step 4: all blobs are durable and were read back, no row names them yet
  "kept", // after step 4: the rows are there
  "staged", // after step 5: the staging file stands beside the live one
  "looked", // after step 7, the journal at `swapping`: nothing was sent yet
  "swapped", // after step 8: the new bytes stand there, nothing was concluded yet
  "rolling_back", // the journal says so, nothing was put back yet
  "put_back", // the old bytes stand there again
  "old_removed", // in step 11: the second name is gone, the journal still open
  "done", // after step 11: the journal is closed, blobs that are to go still stand
  "blobs.removing", // before a blob that no row names is removed
] as const

export type FailpointName = (typeof failpointNames)[number]

/** Called at each passing; what the shipped service does there is nothing. */
export type Failpoint = (name: FailpointName) => void | Promise<void>

export const noFailpoint: Failpoint = () => {}
