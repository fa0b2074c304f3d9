import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { generateKeyPairSync } from "node:crypto"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { link, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises"
import { connect } from "node:net"
import { tmpdir, userInfo } from "node:os"
import { join } from "node:path"
import { after, afterEach, before, beforeEach, suite, test } from "node:test"
import { promisify } from "node:util"
import ssh2, { type ClientChannel, type SFTPWrapper } from "ssh2"
import { type SshServer, startSshServer } from "../../demo/ssh-server.ts"
import { transportContract } from "../contracts/transport.ts"
import { transportFor } from "../ssh/transport-harness.ts"
import { diskHarness } from "../support/disk-harness.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { vmOf } from "../support/sshd.ts"

const run = promisify(execFile)
const host = "127.0.0.1"

let home: string
let root: string
let server: SshServer
let clientKeyPath: string

async function start(): Promise<void> {
  home = await mkdtemp(join(tmpdir(), "config-manager-demo-"))
  root = join(home, "vm")
  await mkdir(join(root, "opt/app"), { recursive: true })
  clientKeyPath = await sharedClientKey()
  server = await startSshServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
}

async function stop(): Promise<void> {
  await server.close()
  await rm(home, { recursive: true })
}

suite("the demo's SSH server under the service", () => {
  before(start)
  after(stop)

  transportContract("SshTransport on the demo's SSH server", () =>
    diskHarness({
      server: { host, port: server.port },
      connect: (address) => ({
        transport: transportFor({ knownHostsPath: join(home, "known_hosts") }),
        vm: vmOf({ ...address, user: "demo", clientKeyPath }, { hostKeys: [server.fingerprint] }),
      }),
      folder: root,
      folderOnVm: "/",
    }),
  )
})

suite("the demo's SSH server", { timeout: 20_000 }, () => {
  const clients: ssh2.Client[] = []
  beforeEach(start)
  afterEach(async () => {
    for (const client of clients.splice(0)) client.end()
    await stop()
  })

  async function logIn(options: ssh2.ConnectConfig = {}): Promise<ssh2.Client> {
    const client = new ssh2.Client()
    clients.push(client)
    client.on("error", () => {})
    client.connect({ host, port: server.port, username: "u", privateKey: await readFile(clientKeyPath), ...options })
    await once(client, "ready")
    return client
  }

  async function sftp(): Promise<SFTPWrapper> {
    const client = await logIn()
    return promised((done) => client.sftp(done))
  }

  test("lets in no other key, no password and nobody without either", async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
    const stranger = privateKey.export({ type: "sec1", format: "pem" })
    for (const options of [
      { privateKey: stranger },
      { privateKey: undefined, password: "x" },
      { privateKey: undefined },
    ]) {
      await assert.rejects(logIn(options), /authentication methods failed/)
    }
  })

  test("lets in nobody who knows the public key only", async () => {
    const key = ssh2.utils.parseKey(await readFile(clientKeyPath))
    assert.ok(!(key instanceof Error))
    const forged = Object.assign(key, { sign: () => Buffer.alloc(64) })
    const methods: ssh2.AnyAuthMethod[] = [{ type: "publickey", username: "u", key: forged }]
    const authHandler: ssh2.AuthHandlerMiddleware = (_left, _partial, next) => next(methods.shift() ?? (false as never))
    await assert.rejects(logIn({ privateKey: undefined, authHandler }), /authentication methods failed/)
  })

  test("offers no commands, no shell, no other subsystem and no forwarding", async () => {
    const client = await logIn()
    await assert.rejects(promised<ClientChannel>((done) => client.exec("true", done)))
    await assert.rejects(promised<ClientChannel>((done) => client.shell(done)))
    await assert.rejects(promised<ClientChannel>((done) => client.subsys("netconf", done)))
    await assert.rejects(promised<ClientChannel>((done) => client.forwardOut(host, 1, host, server.port, done)))
  })

  test("shows the host key that its line of known_hosts names", async () => {
    const keys: Buffer[] = []
    await logIn({ hostVerifier: (key: Buffer) => keys.push(key) > 0 })
    assert.equal(server.hostKeyLine("vm01"), `[vm01]:${server.port} ecdsa-sha2-nistp256 ${keys[0]?.toString("base64")}`)
  })

  test("takes a host key and refuses one that is none", async () => {
    const hostKey = await readFile(clientKeyPath)
    const authorizedKey = await readFile(`${clientKeyPath}.pub`, "utf8")
    const other = await startSshServer({ root, hostKey, authorizedKey })
    assert.match(other.hostKeyLine("x"), / ssh-ed25519 /)
    await other.close()
    await assert.rejects(startSshServer({ root, hostKey: "none", authorizedKey }), /The host key cannot be read/)
    await assert.rejects(startSshServer({ root, authorizedKey: "none" }), /The authorized key cannot be read/)
    await assert.rejects(startSshServer({ root: join(home, "missing"), authorizedKey }), { code: "ENOENT" })
  })

  test("serves OpenSSH's own sftp client", async () => {
    const knownHosts = join(home, "known_hosts")
    const batch = join(home, "batch")
    await writeFile(knownHosts, `${server.hostKeyLine(host)}\n`)
    await writeFile(join(home, "local"), "content")
    await writeFile(
      batch,
      [
        `put ${join(home, "local")} /opt/app/a`,
        "mkdir /opt/dir",
        "chmod 600 /opt/app/a",
        "rename /opt/app/a /opt/dir/b",
        "ln /opt/dir/b /opt/dir/hard",
        "ln -s /opt/dir/b /opt/dir/soft",
        "ls -la /opt/dir",
        "df /opt",
        `get /opt/dir/soft ${join(home, "got")}`,
        "rm /opt/dir/hard",
        "mkdir /opt/gone",
        "rmdir /opt/gone",
        "cd /opt/dir/..",
        "pwd",
      ].join("\n"),
    )
    const options = [
      "-F",
      "none",
      "-i",
      clientKeyPath,
      "-o",
      "IdentitiesOnly=yes",
      "-o",
      `UserKnownHostsFile=${knownHosts}`,
    ]
    const { stdout } = await run("sftp", [...options, "-P", String(server.port), "-b", batch, `demo@${host}`])

    assert.match(stdout, /Remote working directory: \/opt$/m)
    assert.match(stdout, /^-rw------- .* 7 .*b$/m)
    assert.match(stdout, /%Capacity/)
    assert.equal(await readFile(join(home, "got"), "utf8"), "content")
    assert.deepEqual(await readdir(join(root, "opt/dir")), ["b", "soft"])
    assert.equal(await readlink(join(root, "opt/dir/soft")), "/opt/dir/b")
    assert.equal((await lstat(join(root, "opt/dir/b"))).mode & 0o7777, 0o600)
  })

  test("lets no path and no symlink lead out of its folder", async () => {
    await writeFile(join(home, "secret"), "secret")
    await symlink("../../secret", join(root, "relative"))
    await symlink(join(home, "secret"), join(root, "absolute"))
    await symlink("../..", join(root, "up"))
    await symlink("/", join(root, "top"))
    const channel = await sftp()
    for (const path of ["/../secret", "../../secret", "/relative", "/absolute", "/up/secret", "/top/../../secret"]) {
      await assert.rejects(
        promised((done) => channel.open(path, "r", done)),
        { code: 2 },
        path,
      )
      await assert.rejects(
        promised((done) => channel.stat(path, done)),
        { code: 2 },
        path,
      )
    }
    const opened = await promised<Buffer>((done) => channel.open("/up/escaped", "w", done))
    await promised((done) => channel.close(opened, done))
    await promised((done) => channel.mkdir("/../../made", done))
    assert.deepEqual((await readdir(home)).sort(), ["secret", "vm"])
    assert.ok(existsSync(join(root, "escaped")) && existsSync(join(root, "made")))
    assert.equal(await promised((done) => channel.realpath("/top/opt/../../..", done)), "/")
  })

  test("does not remove, move or replace its root", async () => {
    const channel = await sftp()
    await rm(join(root, "opt"), { recursive: true })
    for (const path of ["/", "", "..", "/."]) {
      await assert.rejects(
        promised((done) => channel.rmdir(path, done)),
        { code: 4 },
      )
      await assert.rejects(
        promised((done) => channel.rename(path, "/x", done)),
        { code: 4 },
      )
      await assert.rejects(
        promised((done) => channel.ext_openssh_rename(path, "/x", done)),
        { code: 4 },
      )
    }
    assert.ok(existsSync(root))
  })

  test("goes round in circles of symlinks for a while only", async () => {
    await symlink("b", join(root, "a"))
    await symlink("a", join(root, "b"))
    const channel = await sftp()
    await assert.rejects(
      promised((done) => channel.open("/a", "r", done)),
      { code: 2 },
    )
    await assert.rejects(
      promised((done) => channel.open("/a/c", "r", done)),
      { code: 2 },
    )
  })

  test("answers in the order of the requests, each seeing what the one before did", async () => {
    const channel = await sftp()
    await writeFile(join(root, "live"), "old")
    await writeFile(join(root, "staged"), "new")
    const order: string[] = []
    const note = (what: string, call: Promise<unknown>) =>
      call.then(
        () => order.push(what),
        () => order.push(`${what}!`),
      )
    await Promise.all([
      note(
        "link",
        promised((done) => channel.ext_openssh_hardlink("/live", "/old", done)),
      ),
      note(
        "rename",
        promised((done) => channel.ext_openssh_rename("/staged", "/live", done)),
      ),
      note(
        "missing",
        promised((done) => channel.lstat("/staged", done)),
      ),
      note(
        "open",
        promised((done) => channel.open("/live", "r", done)),
      ),
      note(
        "remove",
        promised((done) => channel.unlink("/live", done)),
      ),
      note(
        "gone",
        promised((done) => channel.lstat("/live", done)),
      ),
    ])
    assert.deepEqual(order, ["link", "rename", "missing!", "open", "remove", "gone!"])
    assert.equal(await readFile(join(root, "old"), "utf8"), "old")
  })

  test("refuses to replace by the rename of SFTP itself", async () => {
    const channel = await sftp()
    await writeFile(join(root, "a"), "a")
    await writeFile(join(root, "b"), "b")
    await assert.rejects(
      promised((done) => channel.rename("/a", "/b", done)),
      { code: 4 },
    )
    await assert.rejects(
      promised((done) => channel.rename("/opt", "/a", done)),
      { code: 4 },
    )
    await promised((done) => channel.rename("/a", "/c", done))
    assert.deepEqual((await readdir(root)).sort(), ["b", "c", "opt"])
  })

  test("creates exclusively over no file and no dangling symlink", async () => {
    const channel = await sftp()
    await writeFile(join(root, "taken"), "theirs")
    await symlink("nowhere", join(root, "dangling"))
    for (const path of ["/taken", "/dangling"]) {
      await assert.rejects(
        promised((done) => channel.open(path, "wx", done)),
        { code: 4 },
      )
    }
    assert.deepEqual(
      [await readFile(join(root, "taken"), "utf8"), existsSync(join(root, "nowhere"))],
      ["theirs", false],
    )
  })

  test("refuses handles that are closed, made up, or of the other kind", async () => {
    const channel = await sftp()
    const directory = await promised<Buffer>((done) => channel.opendir("/opt", done))
    await assert.rejects(
      promised((done) => channel.fstat(directory, done)),
      { code: 2 },
    )
    await promised((done) => channel.close(directory, done))
    await assert.rejects(
      promised((done) => channel.close(directory, done)),
      { code: 2 },
    )
    await assert.rejects(
      promised((done) => channel.fstat(Buffer.from("77"), done)),
      { code: 2 },
    )
  })

  test("opens no more than so many handles, and gives them back when the channel ends", async () => {
    await writeFile(join(root, "a"), "")
    const client = await logIn()
    const channel = await promised<SFTPWrapper>((done) => client.sftp(done))
    const opening = Array.from({ length: 101 }, () => promised((done) => channel.open("/a", "r", done)))
    const outcomes = await Promise.allSettled(opening)
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 100)
    channel.end()
    await once(channel, "close")
    const next = await promised<SFTPWrapper>((done) => client.sftp(done))
    await promised((done) => next.open("/a", "r", done))
  })

  test("ends the channel, and no more than that, for packets that make no sense", async () => {
    const client = await logIn()
    for (const bytes of ["00000000", "7fffffff01", "000000010e", "0000000903000000010000ffff"]) {
      const channel = await promised<ClientChannel>((done) => client.subsys("sftp", done))
      channel.write(Buffer.from(bytes, "hex"))
      channel.resume()
      await once(channel, "close")
    }
    const good = await promised<SFTPWrapper>((done) => client.sftp(done))
    assert.equal(await promised((done) => good.realpath(".", done)), "/")
  })

  test("says of a request that it does not know that it is not supported", async () => {
    const channel = await sftp()
    await assert.rejects(promised((done) => channel.ext_openssh_lsetstat("/opt", { mode: 0o700 }, done)))
    const client = await logIn()
    const raw = await promised<ClientChannel>((done) => client.subsys("sftp", done))
    raw.write(Buffer.from("000000056300000007", "hex"))
    const [answer] = await once(raw, "data")
    // STATUS, id 7, OP_UNSUPPORTED.
    assert.equal(answer.subarray(4, 13).toString("hex"), "650000000700000008")
  })

  test("tells a directory of many files in full", async () => {
    const names = Array.from({ length: 250 }, (_, n) => `file-${n}`)
    await writeFile(join(root, "first"), "x")
    await Promise.all(names.map((name) => link(join(root, "first"), join(root, "opt/app", name))))
    const channel = await sftp()
    const list = await promised<readonly { filename: string }[]>((done) => channel.readdir("/opt/app", done))
    assert.deepEqual(list.map(({ filename }) => filename).sort(), [...names].sort())
  })

  test("survives clients that vanish midway, and closes with clients connected", async () => {
    const client = await logIn()
    const channel = await promised<SFTPWrapper>((done) => client.sftp(done))
    channel.on("error", () => {})
    await promised((done) => channel.open("/new", "w", done))
    const closed = once(client, "close")
    client.destroy()
    await closed
    const staying = await logIn()
    const cut = once(staying, "close")
    await server.close()
    await server.close()
    await cut
    await assert.rejects(once(connect(server.port, host), "connect"), { code: "ECONNREFUSED" })
  })

  test("serves nobody but this machine", async () => {
    const outside = Object.values(await import("node:os").then(({ networkInterfaces }) => networkInterfaces()))
      .flatMap((addresses) => addresses ?? [])
      .find(({ internal, family }) => !internal && family === "IPv4")
    if (!outside) return
    await assert.rejects(once(connect(server.port, outside.address), "connect"), { code: "ECONNREFUSED" })
  })

  test("takes any user name", async () => {
    await logIn({ username: userInfo().username })
    await logIn({ username: "nobody-of-that-name" })
  })
})

/** A call of ssh2 with a callback, as a promise. */
function promised<T>(call: (done: (error?: Error | null, result?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error) : resolve(result as T)))
  })
}
