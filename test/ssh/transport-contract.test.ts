import { after, before } from "node:test"
import { transportContract } from "../contracts/transport.ts"
import { diskHarness } from "../support/disk-harness.ts"
import { type Sshd, startSshd, vmOf } from "../support/sshd.ts"
import { transportFor } from "./transport-harness.ts"

let sshd: Sshd
before(async () => {
  sshd = await startSshd()
})
after(() => sshd.stop())

transportContract("SshTransport on OpenSSH", () =>
  diskHarness({
    server: sshd,
    connect: (address) => ({
      transport: transportFor(sshd),
      // The proxy's port is in no known_hosts.
      vm: vmOf(sshd, { ...address, hostKeys: [sshd.fingerprint] }),
    }),
    folder: sshd.root,
    folderOnVm: sshd.root,
  }),
)
