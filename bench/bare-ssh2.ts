import { readFileSync } from "node:fs"
import { dirname } from "node:path/posix"
import type { SFTPWrapper, Stats } from "ssh2"
import ssh2 from "ssh2"
import type { Sshd } from "../test/support/sshd.ts"

/** The steps of our GET and PUT on ssh2 alone: no HTTP, no versions, no checks beyond reading back. Pipelined as ours are. */
export interface BareConnection {
  get(path: string): Promise<Buffer>
  put(path: string, bytes: Buffer): Promise<void>
  close(): void
}

type Done<T> = (error: Error | null | undefined, value: T) => void

export async function connectBare(sshd: Sshd, port = sshd.port): Promise<BareConnection> {
  const client = new ssh2.Client()
  const privateKey = readFileSync(sshd.clientKeyPath)
  const algorithms = { kex: ["curve25519-sha256"], cipher: ["aes128-gcm@openssh.com"] } as const
  await new Promise<void>((resolve, reject) => {
    client.once("ready", resolve).once("error", reject)
    client.connect({
      host: sshd.host,
      port,
      username: sshd.user,
      privateKey,
      algorithms: { kex: [...algorithms.kex], cipher: [...algorithms.cipher] },
    })
    client.setNoDelay(true)
  })
  const sftp = await call<SFTPWrapper>((done) => client.sftp(done))
  return { get: (path) => get(sftp, path), put: (path, bytes) => put(sftp, path, bytes), close: () => client.end() }
}

async function get(sftp: SFTPWrapper, path: string): Promise<Buffer> {
  const [stats, handle] = await Promise.all([
    call<Stats>((done) => sftp.lstat(path, done)),
    call<Buffer>((done) => sftp.open(path, "r", done)),
  ])
  const bytes = Buffer.alloc(stats.size)
  await Promise.all([
    call<number>((done) => sftp.read(handle, bytes, 0, bytes.length, 0, done)),
    call<Stats>((done) => sftp.fstat(handle, done)),
    call<void>((done) => sftp.close(handle, done as never)),
  ])
  return bytes
}

async function put(sftp: SFTPWrapper, path: string, bytes: Buffer): Promise<void> {
  await get(sftp, path)
  const staging = `${path}.bare.new`
  const old = `${path}.bare.old`
  const handle = await call<Buffer>((done) => sftp.open(staging, "wx+" as "w+", 0o600, done))
  const back = Buffer.alloc(bytes.length)
  await Promise.all([
    call<void>((done) => sftp.write(handle, bytes, 0, bytes.length, 0, done as never)),
    call<void>((done) => sftp.fsetstat(handle, { mode: 0o640 } as never, done as never)),
    call<void>((done) => sftp.ext_openssh_fsync(handle, done as never)),
    call<number>((done) => sftp.read(handle, back, 0, back.length, 0, done)),
    call<void>((done) => sftp.close(handle, done as never)),
  ])
  await get(sftp, path)
  const [, , directory] = await Promise.all([
    call<void>((done) => sftp.ext_openssh_hardlink(path, old, done as never)),
    call<void>((done) => sftp.ext_openssh_rename(staging, path, done as never)),
    call<Buffer>((done) => sftp.open(dirname(path), "r", done)),
  ])
  await call<void>((done) => sftp.ext_openssh_fsync(directory, done as never))
  await Promise.all([get(sftp, path), get(sftp, old), call<void>((done) => sftp.close(directory, done as never))])
  await call<void>((done) => sftp.unlink(old, done as never))
}

function call<T>(start: (done: Done<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value)))
  })
}
