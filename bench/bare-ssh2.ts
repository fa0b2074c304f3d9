import { readFileSync } from "node:fs"
import { dirname } from "node:path/posix"
import type { SFTPWrapper, Stats } from "ssh2"
import ssh2 from "ssh2"
import type { Sshd } from "../test/support/sshd.ts"

/** The steps of our GET and PUT on ssh2 alone: no HTTP, no versions, no checks beyond reading back. */
export interface BareConnection {
  get(path: string): Promise<Buffer>
  put(path: string, bytes: Buffer): Promise<void>
  close(): void
}

/** How calls follow each other: `pipelined` as ours do, those that may leave together in one flight; or each after the one before. */
export type Manner = "pipelined" | "one by one"

type Done<T> = (error: Error | null | undefined, value: T) => void

export async function connectBare(sshd: Sshd, manner: Manner): Promise<BareConnection> {
  const client = new ssh2.Client()
  const privateKey = readFileSync(sshd.clientKeyPath)
  const algorithms = { kex: ["curve25519-sha256"], cipher: ["aes128-gcm@openssh.com"] } as const
  await new Promise<void>((resolve, reject) => {
    client.once("ready", resolve).once("error", reject)
    client.connect({
      host: sshd.host,
      port: sshd.port,
      username: sshd.user,
      privateKey,
      algorithms: { kex: [...algorithms.kex], cipher: [...algorithms.cipher] },
    })
    client.setNoDelay(true)
  })
  const sftp = await call<SFTPWrapper>((done) => client.sftp(done))
  const steps = new Steps(sftp, manner)
  return { get: (path) => steps.get(path), put: (path, bytes) => steps.put(path, bytes), close: () => client.end() }
}

class Steps {
  readonly #sftp: SFTPWrapper
  readonly #manner: Manner

  constructor(sftp: SFTPWrapper, manner: Manner) {
    this.#sftp = sftp
    this.#manner = manner
  }

  async get(path: string): Promise<Buffer> {
    const sftp = this.#sftp
    const [stats, handle] = await this.#flight(
      () => call<Stats>((done) => sftp.lstat(path, done)),
      () => call<Buffer>((done) => sftp.open(path, "r", done)),
    )
    const bytes = Buffer.alloc(stats.size)
    await this.#flight(
      () => call<number>((done) => sftp.read(handle, bytes, 0, bytes.length, 0, done)),
      () => call<Stats>((done) => sftp.fstat(handle, done)),
      () => call<void>((done) => sftp.close(handle, done as never)),
    )
    return bytes
  }

  async put(path: string, bytes: Buffer): Promise<void> {
    const sftp = this.#sftp
    await this.get(path)
    const staging = `${path}.bare.new`
    const old = `${path}.bare.old`
    const handle = await call<Buffer>((done) => sftp.open(staging, "wx+" as "w+", 0o600, done))
    const back = Buffer.alloc(bytes.length)
    await this.#flight(
      () => call<void>((done) => sftp.write(handle, bytes, 0, bytes.length, 0, done as never)),
      () => call<void>((done) => sftp.fsetstat(handle, { mode: 0o640 } as never, done as never)),
      () => call<void>((done) => sftp.ext_openssh_fsync(handle, done as never)),
      () => call<number>((done) => sftp.read(handle, back, 0, back.length, 0, done)),
      () => call<void>((done) => sftp.close(handle, done as never)),
    )
    await this.get(path)
    const [, , directory] = await this.#flight(
      () => call<void>((done) => sftp.ext_openssh_hardlink(path, old, done as never)),
      () => call<void>((done) => sftp.ext_openssh_rename(staging, path, done as never)),
      () => call<Buffer>((done) => sftp.open(dirname(path), "r", done)),
    )
    await call<void>((done) => sftp.ext_openssh_fsync(directory, done as never))
    await this.#flight(
      () => this.get(path),
      () => this.get(old),
      () => call<void>((done) => sftp.close(directory, done as never)),
    )
    await call<void>((done) => sftp.unlink(old, done as never))
  }

  async #flight<T extends readonly unknown[]>(...steps: { [K in keyof T]: () => Promise<T[K]> }): Promise<T> {
    if (this.#manner === "pipelined") return (await Promise.all(steps.map((step) => step()))) as unknown as T
    const answers: unknown[] = []
    for (const step of steps) answers.push(await step())
    return answers as unknown as T
  }
}

function call<T>(start: (done: Done<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value)))
  })
}
