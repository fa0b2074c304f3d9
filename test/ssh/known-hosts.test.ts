import assert from "node:assert/strict"
import { execFile, execFileSync } from "node:child_process"
import { chmod, mkdir, mkdtemp, rename, rm, symlink, utimes, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import { promisify } from "node:util"
import fc from "fast-check"
import { type HostKeys, KnownHosts } from "../../src/ssh/known-hosts.ts"
import { isRoot } from "../support/sshd.ts"

const run = promisify(execFile)

/** An ed25519 public key as known_hosts has it; which one is up to `n`. */
function key(n: number): string {
  const type = Buffer.from("ssh-ed25519")
  return `ssh-ed25519 ${Buffer.concat([length(type), type, length(Buffer.alloc(32)), Buffer.alloc(32, n)]).toString("base64")}`
}

function length(bytes: Buffer): Buffer {
  const size = Buffer.alloc(4)
  size.writeUInt32BE(bytes.length)
  return size
}

/** Keys as known_hosts has them, and the rest of a match as it is. */
function shown(found: HostKeys) {
  return {
    keys: found.keys.map(({ type, blob }) => `${type} ${blob.toString("base64")}`),
    revoked: found.revoked.map((blob) => `ssh-ed25519 ${blob.toString("base64")}`),
    certAuthority: found.certAuthority,
  }
}

function keysOf(text: string, host: string, port = 22): readonly string[] {
  return shown(KnownHosts.parse(text).match(host, port)).keys
}

suite("KnownHosts.match", () => {
  test("finds a plain name among a list, with all its keys in the order of the file", () => {
    const text = `web-1,10.0.0.1 ${key(1)} set up by hand\nweb-2 ${key(2)}\n10.0.0.1 ${key(3)}\n`
    assert.deepEqual(keysOf(text, "10.0.0.1"), [key(1), key(3)])
  })

  test("does not care for the case of names, on either side", () => {
    assert.deepEqual(keysOf(`Web-1.Example.ORG ${key(1)}`, "WEB-1.example.org"), [key(1)])
  })

  test("does not take a part of a name for the name", () => {
    const text = `web-1 ${key(1)}\nweb-1.example.org ${key(2)}`
    for (const host of ["web", "web-", "eb-1", "web-10", "example.org", "web-1.example.or", ""]) {
      assert.deepEqual(keysOf(text, host), [], host)
    }
  })

  test("counts only [host]:port for another port than 22", () => {
    const text = `web-1 ${key(1)}\n[web-1]:2222 ${key(2)}\n[web-1]:22 ${key(3)}`
    assert.deepEqual(keysOf(text, "web-1", 22), [key(1)])
    assert.deepEqual(keysOf(text, "web-1", 2222), [key(2)])
    assert.deepEqual(keysOf(text, "web-1", 2223), [])
  })

  test("knows IPv6 addresses, bare for port 22 and in brackets otherwise", () => {
    const text = `2001:db8::1 ${key(1)}\n[2001:db8::1]:2222 ${key(2)}`
    assert.deepEqual(keysOf(text, "2001:DB8::1"), [key(1)])
    assert.deepEqual(keysOf(text, "2001:db8::1", 2222), [key(2)])
    assert.deepEqual(keysOf(text, "2001:db8::2"), [])
  })

  test("takes * for any characters and ? for one", () => {
    const text = `*.example.org ${key(1)}\n10.0.?.1 ${key(2)}\n[*]:2222 ${key(3)}`
    assert.deepEqual(keysOf(text, "a.b.example.org"), [key(1)])
    assert.deepEqual(keysOf(text, "example.org"), [])
    assert.deepEqual(keysOf(`web** ${key(4)}`, "web"), [key(4)])
    assert.deepEqual(keysOf(text, "10.0.7.1"), [key(2)])
    assert.deepEqual(keysOf(text, "10.0.77.1"), [])
    assert.deepEqual(keysOf(text, "anything", 2222), [key(3)])
    assert.deepEqual(keysOf(text, "a.example.org", 2223), [])
  })

  test("takes the other characters of a pattern literally", () => {
    assert.deepEqual(keysOf(`10.0.0.1 ${key(1)}\nw[e]b ${key(2)}\nweb+ ${key(3)}`, "10a0b0c1"), [])
    assert.deepEqual(keysOf(`w[e]b ${key(2)}`, "web"), [])
  })

  test("lets a negated pattern rule the whole line out, wherever it stands", () => {
    for (const names of ["*.lab,!bad.lab", "!bad.lab,*.lab", "bad.lab,!b*"]) {
      assert.deepEqual(keysOf(`${names} ${key(1)}`, "bad.lab"), [], names)
    }
    assert.deepEqual(keysOf(`*.lab,!bad.lab ${key(1)}`, "good.lab"), [key(1)])
  })

  test("finds nothing by negation alone", () => {
    assert.deepEqual(keysOf(`!bad.lab ${key(1)}`, "good.lab"), [])
  })

  test("tells revoked keys and authorities apart from keys", () => {
    const text = `web-1 ${key(1)}\n@revoked * ${key(2)}\n@cert-authority *.lab ${key(3)}\n`
    assert.deepEqual(shown(KnownHosts.parse(text).match("web-1", 22)), {
      keys: [key(1)],
      revoked: [key(2)],
      certAuthority: false,
    })
    assert.deepEqual(shown(KnownHosts.parse(text).match("a.lab", 22)), {
      keys: [],
      revoked: [key(2)],
      certAuthority: true,
    })
  })

  test("tells the same again, and of more hosts than it remembers", () => {
    const hosts = KnownHosts.parse(`web-* ${key(1)}\ndb ${key(2)}`)
    for (let n = 0; n < 10_000; n++) hosts.match(`web-${n}`, 22)
    for (const again of [1, 2]) {
      assert.deepEqual([again, ...shown(hosts.match("web-1", 22)).keys], [again, key(1)])
      assert.deepEqual([again, ...shown(hosts.match("db", 22)).keys], [again, key(2)])
      assert.deepEqual([again, ...shown(hosts.match("db", 2222)).keys], [again])
    }
  })

  test("is not led astray by a pattern of many stars", () => {
    const names = `${"*a".repeat(500)}b`
    const started = performance.now()
    assert.deepEqual(keysOf(`${names} ${key(1)}`, "a".repeat(5000)), [])
    assert.ok(performance.now() - started < 1000)
  })
})

suite("KnownHosts.parse", () => {
  const bad: readonly (readonly [string, string, RegExp])[] = [
    ["a line without a key", "web-1 ssh-ed25519", /Names, key type and key/],
    ["a line of one word", "web-1", /Names, key type and key/],
    ["a marker alone", "@revoked", /Names, key type and key/],
    ["an unknown marker", `@trusted web-1 ${key(1)}`, /neither @revoked nor/],
    ["two markers", `@revoked @cert-authority web-1 ${key(1)}`, /key/],
    ["a key that is not base64", "web-1 ssh-ed25519 AAAA*AAA", /not base64/],
    ["a key that is cut", `web-1 ${key(1).slice(0, -1)}`, /not base64/],
    ["a key of another type than said", `web-1 ${key(1).replace("ssh-ed25519", "ssh-rsa")}`, /not of the type/],
    ["a key whose length points past its end", "web-1 ssh-ed25519 /////w==", /not of the type/],
    ["a key that is nothing but its type", "web-1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", /not of the type/],
    ["a hashed name with more behind it", `|1|${"A".repeat(27)}=|${"A".repeat(27)}=|x ${key(1)}`, /hashed name/],
    ["a key of the old protocol", "web-1 1024 35 1234567890", /base64/],
    ["a hashed name of another version", `|2|${"A".repeat(27)}=|${"A".repeat(27)}= ${key(1)}`, /hashed name/],
    ["a hashed name without a hash", `|1|${"A".repeat(27)}= ${key(1)}`, /hashed name/],
    ["a hashed name with a short hash", `|1|${"A".repeat(27)}=|AAAA ${key(1)}`, /hashed name/],
  ]
  for (const [what, line, message] of bad) {
    test(`ignores ${what}, and says on which line it stands`, () => {
      const hosts = KnownHosts.parse(`# a comment\n\n${line}\nweb-1 ${key(9)}\n`)
      assert.deepEqual(shown(hosts.match("web-1", 22)).keys, [key(9)])
      assert.deepEqual(
        hosts.problems.map((problem) => problem.line),
        [3],
      )
      assert.match(hosts.problems[0]?.message ?? "", message)
    })
  }

  test("says nothing of the key or the name in a problem", () => {
    const hosts = KnownHosts.parse("secret-host ssh-ed25519 secretkey*\n|1|secretsalt|x ssh-ed25519 secret\n")
    assert.doesNotMatch(JSON.stringify(hosts.problems), /secret/)
  })

  test("reads Windows line ends, tabs, indented lines and a last line without an end", () => {
    const text = `\t# comment\r\n \r\n  web-1\t ${key(1).replace(" ", "\t")}\t comment\r\nweb-1 ${key(2)}`
    assert.deepEqual(keysOf(text, "web-1"), [key(1), key(2)])
    assert.deepEqual(KnownHosts.parse(text).problems, [])
  })

  test("never throws, whatever the file holds", () => {
    const word = fc.oneof(fc.string(), fc.constantFrom("@revoked", "|1|", "|1|AAAA|AAAA", "web-1", "!*", key(1), "\n"))
    fc.assert(
      fc.property(fc.array(word), fc.string(), fc.integer({ min: 1, max: 65535 }), (words, host, port) => {
        const text = words.join(" ")
        const hosts = KnownHosts.parse(text)
        hosts.match(host, port)
        assert.ok(hosts.problems.every(({ line }) => line >= 1 && line <= text.split("\n").length))
      }),
      { numRuns: 2000 },
    )
  })
})

suite("KnownHosts beside ssh-keygen", () => {
  let folder = ""
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "config-manager-known-hosts-"))
  })
  after(() => rm(folder, { recursive: true }))

  test("finds the same lines as ssh-keygen -F, plain and hashed", async () => {
    const host = fc.constantFrom("web-1", "web-2", "a.lab", "b.lab", "10.0.0.1", "2001:db8::1")
    const port = fc.constantFrom(22, 22, 2222)
    const pattern = fc.oneof(
      fc.tuple(host, port).map(([name, number]) => nameOf(name, number)),
      fc.constantFrom("*", "*.lab", "WEB-?", "!a.lab", "!*.lab", "[*]:2222", "![web-1]:2222", "10.0.*", "?*1", ""),
    )
    const marker = fc.constantFrom("", "", "", "@revoked ", "@cert-authority ", "@odd ")
    const entry = fc.tuple(marker, fc.array(pattern, { minLength: 1, maxLength: 3 }))
    const file = join(folder, "compared")
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 8 }), host, port, async (entries, name, number) => {
        const text = entries.map(([mark, names], n) => `${mark}${names.join(",")} ${key(n)}\n`).join("")
        await writeFile(file, text)
        assert.deepEqual(linesOf(text, name, number), await keygenLines(file, name, number), text)
      }),
      { numRuns: 150 },
    )
  })

  test("finds the names that ssh-keygen -H has hashed, and no others", async () => {
    const file = join(folder, "hashed")
    await writeFile(file, `Web-1,10.0.0.1 ${key(1)}\n[web-1]:2222 ${key(2)}\n2001:db8::1 ${key(3)}\n`)
    execFileSync("ssh-keygen", ["-H", "-f", file], { stdio: "ignore" })
    const hosts = await KnownHosts.read(file)
    assert.deepEqual(hosts.problems, [])
    assert.deepEqual(shown(hosts.match("WEB-1", 22)).keys, [key(1)])
    assert.deepEqual(shown(hosts.match("10.0.0.1", 22)).keys, [key(1)])
    assert.deepEqual(shown(hosts.match("web-1", 2222)).keys, [key(2)])
    assert.deepEqual(shown(hosts.match("2001:db8::1", 22)).keys, [key(3)])
    for (const stranger of ["web-2", "*", "web-1 ", "[web-1]:2222"]) {
      assert.deepEqual(shown(hosts.match(stranger, 22)).keys, stranger === "[web-1]:2222" ? [key(2)] : [])
    }
  })

  function linesOf(text: string, host: string, port: number): readonly string[] {
    const found = shown(KnownHosts.parse(text).match(host, port))
    const authorities = text.split("\n").filter((line) => line.startsWith("@cert-authority"))
    const matching = authorities.filter((line) => KnownHosts.parse(line).match(host, port).certAuthority)
    assert.equal(found.certAuthority, matching.length > 0)
    return [...found.keys, ...found.revoked, ...matching.map((line) => line.split(" ").slice(2).join(" "))].sort()
  }

  async function keygenLines(file: string, host: string, port: number): Promise<readonly string[]> {
    // It exits with 1 where nothing is found.
    const { stdout } = await run("ssh-keygen", ["-F", nameOf(host, port), "-f", file]).catch((error) => error)
    const lines = String(stdout).split("\n")
    return lines
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => line.split(" ").slice(-2).join(" "))
      .sort()
  }

  function nameOf(host: string, port: number): string {
    return port === 22 ? host : `[${host}]:${port}`
  }
})

suite("KnownHosts.read", () => {
  let folder = ""
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "config-manager-known-hosts-"))
  })
  after(() => rm(folder, { recursive: true }))

  test("takes a missing file and /dev/null for files without hosts", async () => {
    for (const path of [join(folder, "missing"), "/dev/null"]) {
      assert.deepEqual(shown((await KnownHosts.read(path)).match("web-1", 22)).keys, [])
    }
  })

  test("gives the same object while the file is the same", async () => {
    const path = join(folder, "same")
    await writeFile(path, `web-1 ${key(1)}\n`)
    assert.equal(await KnownHosts.read(path), await KnownHosts.read(path))
  })

  test("sees a file that was rewritten in place, even with the size and the time of the old one", async () => {
    const path = join(folder, "rewritten")
    const at = new Date(1_700_000_000_000)
    for (const n of [1, 2]) {
      await writeFile(path, `web-1 ${key(n)}\n`)
      await utimes(path, at, at)
      assert.deepEqual(shown((await KnownHosts.read(path)).match("web-1", 22)).keys, [key(n)])
    }
  })

  test("sees a file that another one was renamed over, one that is gone, and one that is back", async () => {
    const path = join(folder, "replaced")
    await writeFile(path, `web-1 ${key(1)}\n`)
    await KnownHosts.read(path)
    await writeFile(`${path}.new`, `web-1 ${key(2)}\n`)
    await rename(`${path}.new`, path)
    assert.deepEqual(shown((await KnownHosts.read(path)).match("web-1", 22)).keys, [key(2)])
    await rename(path, `${path}.away`)
    assert.deepEqual(shown((await KnownHosts.read(path)).match("web-1", 22)).keys, [])
    await rename(`${path}.away`, path)
    assert.deepEqual(shown((await KnownHosts.read(path)).match("web-1", 22)).keys, [key(2)])
  })

  test("forgets the files that were not asked for longest", async () => {
    const path = join(folder, "first")
    await writeFile(path, `web-1 ${key(1)}\n`)
    const first = await KnownHosts.read(path)
    for (let n = 0; n < 16; n++) {
      await writeFile(join(folder, `other-${n}`), "")
      await KnownHosts.read(join(folder, `other-${n}`))
    }
    assert.notEqual(await KnownHosts.read(path), first)
  })

  test("refuses a directory, a FIFO, a circle of symlinks and a file that is too large, in a sentence", async () => {
    await mkdir(join(folder, "directory"))
    execFileSync("mkfifo", [join(folder, "fifo")])
    await symlink("circle", join(folder, "circle"))
    execFileSync("truncate", ["-s", "17M", join(folder, "large")])
    const expected = {
      directory: /is not a regular file\.$/,
      fifo: /is not a regular file\.$/,
      circle: /cannot be read \(ELOOP\)\.$/,
      large: /is larger than 16777216 bytes\.$/,
    }
    for (const [name, message] of Object.entries(expected)) {
      await assert.rejects(KnownHosts.read(join(folder, name)), { code: "host_key_unknown", message }, name)
    }
  })

  test("refuses a file that it may not read", { skip: isRoot && "root may read everything" }, async () => {
    const path = join(folder, "closed")
    await writeFile(path, `web-1 ${key(1)}\n`)
    await chmod(path, 0)
    await assert.rejects(KnownHosts.read(path), { code: "host_key_unknown", message: /EACCES/ })
  })
})
