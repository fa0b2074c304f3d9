/** A push over a real blob store and a real catalog, which tells on stdout what it has passed: traced by write-order.fault.ts. */
import { writeSync } from "node:fs"
import { makeDiskRig } from "./disk-rig.ts"

const mark = (name: string): void => void writeSync(1, `mark ${name}\n`)
const disk = await makeDiskRig({ failpoint: mark })
mark("begin")
await disk.rig.put("port: 1\n")
mark("answered")
await disk.close()
