import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { countComments, countRetyped, countTypes } from "../../src/documents/document.ts"
import { attempt, cpuMs, json, read, refusal, yaml, yaml11, yaml12 } from "./reading.ts"

suite("parseDocument reads YAML", () => {
  test("as 1.2 where nothing is said, and warns where 1.1 differs", () => {
    const { value, warnings } = read("a: no\nb: 0777\nc: 12:30\nd: 2001-01-01\ne: 1_000\nf: fine\n", yaml)
    assert.deepEqual(value, { a: "no", b: 777, c: "12:30", d: "2001-01-01", e: "1_000", f: "fine" })
    assert.deepEqual(
      warnings.map(({ code, pointer, line, column }) => ({ code, pointer, line, column })),
      ["/a", "/b", "/c", "/d", "/e"].map((pointer, index) => ({
        code: "ambiguous_yaml",
        pointer,
        line: index + 1,
        column: 4,
      })),
    )
  })

  test("as 1.1 where the type says so, with the same warnings", () => {
    const { value, warnings } = read("a: no\nb: 0777\nc: 12:30\nd: 2001-01-01\ne: 1_000\nf: 0o7\ng: 1e3\n", yaml11)
    assert.deepEqual(value, { a: false, b: 511, c: 750, d: "2001-01-01", e: 1000, f: "0o7", g: "1e3" })
    assert.equal(warnings.length, 7)
  })

  test("as 1.2 without a word where the type says so", () => {
    assert.deepEqual(read("a: no\n", yaml12).warnings, [])
  })

  test("without warnings for quoted text and for y and n", () => {
    assert.deepEqual(read("a: 'no'\nb: \"0777\"\ny: n\n", yaml).warnings, [])
    assert.deepEqual(read("y: n\n", yaml11).value, { y: "n" })
  })

  test("1.1 takes a time of day for text where it begins with 0, and for a number in base 60 where not", () => {
    const source = "a: 02:30\nb: 2:30\nc: 00:30\nd: -02:30\ne: 02:30.5\n"
    assert.deepEqual(read(source, yaml11).value, { a: "02:30", b: 150, c: "00:30", d: "-02:30", e: 150.5 })
    assert.deepEqual(
      read(source, yaml).warnings.map(({ pointer }) => pointer),
      ["/b", "/e"],
    )
  })

  test("with the same warnings under a tag", () => {
    const told = (source: string, kind = yaml) =>
      read(source, kind).warnings.map(({ code, pointer, line, column }) => ({ code, pointer, line, column }))
    const warning = (pointer: string) => ({ code: "ambiguous_yaml", pointer, line: 1, column: pointer.length + 2 })
    assert.deepEqual(told("mode: !!int 0022\n"), [{ ...warning("/mode"), column: 13 }])
    assert.deepEqual(told("mode: !!int 0022\n", yaml11), [{ ...warning("/mode"), column: 13 }])
    assert.deepEqual(told("a: !!int 0o17\nb: !!int 17\nc: !!str 0022\n"), [{ ...warning("/a"), column: 10 }])
    assert.match(
      read("a: !!int 0o17\n", yaml).warnings[0]?.message ?? "",
      /^YAML 1\.1 does not take this for what its tag says/,
    )
    assert.deepEqual(told("mode: !!int 0022\n", yaml12), [])
  })

  test("1.1 takes a fraction that begins with a sign and a point for text, as PyYAML does", () => {
    const source = "a: -.5\nb: +.5e+3\nc: .5\nd: -.inf1\ne: -0.5\nf: !!float -.5\n"
    const value = { a: "-.5", b: "+.5e+3", c: 0.5, d: "-.inf1", e: -0.5, f: -0.5 }
    assert.deepEqual(read(source, yaml11).value, value)
    for (const kind of [yaml, yaml11]) {
      assert.deepEqual(
        read(source, kind).warnings.map(({ pointer }) => pointer),
        ["/a", "/b"],
      )
    }
  })

  test("with a warning for an ambiguous key", () => {
    assert.deepEqual(
      read("on:\n  - push\n", yaml).warnings.map(({ pointer, line }) => ({ pointer, line })),
      [{ pointer: "/on", line: 1 }],
    )
  })

  test("a block at the end of a file without a line end as libyaml does, without one, and warns that others add it", () => {
    for (const mark of ["|", ">", "|+", ">+", "!!str |"]) {
      const text = `a: 1\nb:\n  - ${mark} # c\n    x\n    y`
      const [value, plain] = [mark.includes(">") ? "x y" : "x\ny", { code: "ambiguous_yaml", pointer: "/b/0", line: 3 }]
      for (const kind of [yaml, yaml11, yaml12]) assert.deepEqual(read(text, kind).value, { a: 1, b: [value] })
      for (const kind of [yaml, yaml11]) {
        const told = read(text, kind).warnings.map(({ code, pointer, line }) => ({ code, pointer, line }))
        assert.deepEqual(told, [plain])
      }
      assert.deepEqual(read(text, yaml12).warnings, [])
      assert.deepEqual(read(`${text}\n`, yaml).value, { a: 1, b: [`${value}\n`] })
    }
    for (const text of [
      "a: |-\n  x",
      "a: |\n  x\n",
      "a: |\n  x\n  ",
      "a: |\n  x\n# c",
      "a: |\r\n  x\r\n",
      "a: |",
      "a: x",
    ]) {
      assert.deepEqual(read(text, yaml).warnings, [])
    }
    assert.deepEqual(read("a: |\n  x\n  ", yaml).value, { a: "x\n" })
    assert.deepEqual(read("a: |+\n  x\n  ", yaml).value, { a: "x\n" })
    assert.deepEqual(read("a: |\n  x\n   ", yaml).value, { a: "x\n " })
  })

  test("a line end that a backslash escapes, whatever ends the line", () => {
    for (const end of ["\n", "\r\n", "\r"]) {
      assert.deepEqual(read(`a: "x \\${end}  y"${end}`, yaml).value, { a: "x y" })
      assert.equal(refusal(() => read(`a: "x \\${end}${end}  y"${end}`, yaml)).code, "config_unparsable")
    }
  })

  test("with a warning for a character that ends a line in 1.1 alone", () => {
    for (const char of ["\u0085", "\u2028", "\u2029"]) {
      const text = `a: 1 # note${char}b: 2\nc: 3\n`
      const { value, warnings } = read(text, yaml)
      assert.deepEqual(value, { a: 1, c: 3 })
      assert.deepEqual(
        warnings.map(({ code, line, column }) => [code, line, column]),
        [["ambiguous_yaml", 1, 12]],
      )
      assert.deepEqual(read(text, yaml12).warnings, [])
      const { code, error } = refusal(() => read(text, yaml11))
      assert.deepEqual([code, error?.line, error?.column], ["config_unparsable", 1, 12])
    }
  })

  test("with at most 20 warnings, none of which repeats a value", () => {
    const { warnings } = read("- 2001-12-31\n".repeat(1000), yaml)
    assert.equal(warnings.length, 20)
    assert.doesNotMatch(JSON.stringify(warnings), /2001/)
  })

  test("with one warning for a value that aliases repeat", () => {
    assert.equal(read("a: &a no\nb: *a\nc: [*a, *a]\n", yaml).warnings.length, 1)
  })

  test("with merge keys: own members win, then the first source", () => {
    const source = "a: &a {x: 1, z: 1}\nb: &b {x: 2, w: 2}\nc:\n  <<: [*a, *b]\n  z: 3\nd:\n  z: 4\n  <<: *a\n"
    assert.deepEqual(read(source, yaml).value, {
      a: { x: 1, z: 1 },
      b: { x: 2, w: 2 },
      c: { x: 1, z: 3, w: 2 },
      d: { z: 4, x: 1 },
    })
  })

  test("with a warning for a merge key where no version is named: readers of 1.2 take it for a key", () => {
    const source = "a: &a {x: 1}\nb:\n  <<: *a\nc: {'<<': 1}\n"
    const [told, ...more] = read(source, yaml).warnings
    assert.deepEqual([told?.code, told?.pointer, told?.line, told?.column], ["ambiguous_yaml", "/b/<<", 3, 3])
    assert.deepEqual(more, [])
    for (const kind of [yaml11, yaml12]) assert.deepEqual(read(source, kind).warnings, [])
  })

  test("with aliases as values of their own", () => {
    const { a, b } = read("a: &a [1]\nb: *a\n", yaml).value as { a: unknown[]; b: unknown[] }
    a.push(2)
    assert.deepEqual(b, [1])
  })

  test("as null where there is nothing but comments", () => {
    for (const source of ["", "\n", "# only this\n", "---\n", "---\n...\n", "\ufeff# mark\n"]) {
      assert.equal(read(source, yaml).value, null, JSON.stringify(source))
    }
  })

  test("with its own tags, and keys as their text", () => {
    const source = '1: !!str 1\n0x2: !!int "3"\n~: !!float 1\n1.50: !!seq [a]\nq: ! no\n'
    assert.deepEqual(read(source, yaml12).value, { "1": "1", "0x2": 3, "~": 1, "1.50": ["a"], q: "no" })
  })

  test("with large numbers that come out as they went in", () => {
    assert.deepEqual(
      read("[9007199254740991, 9007199254740992, 1e20, +100000000000000000000, 1e300, -1.50e+20]\n", yaml12).value,
      [9007199254740991, 9007199254740992, 1e20, 1e20, 1e300, -1.5e20],
    )
  })

  test("with CRLF, a byte order mark and -0", () => {
    assert.deepEqual(read("\ufeffa: 1\r\nb: -0.0\r\n", yaml).value, { a: 1, b: 0 })
  })
})

suite("parseDocument refuses YAML", () => {
  const refused: readonly (readonly [what: string, source: string, line: number, column: number])[] = [
    ["with a tab for indentation", "a:\n\t- b\n", 2, 1],
    ["with an unclosed quote", 'a: 1\nb: "x', 2, 6],
    ["with two documents", "---\na: 1\n---\nb: 2\n", 3, 1],
    ["with an empty second document", "a: 1\n---\n", 2, 1],
    ["with duplicate keys", "a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3],
    ["with keys that are equal when read", "1: a\n0x1: b\n", 2, 1],
    ["with two merge keys", "a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, 3],
    ["with a merge key of something else", "<<: 1\n", 1, 5],
    ["with a cyclic alias", "a: &a\n  - *a\n", 2, 5],
    ["with an alias to nothing", "a: *b\n", 1, 4],
    ["with a tag of a language", "a: !!js/function 'x'\n", 1, 4],
    ["with an own tag", "a: !vault secret\n", 1, 4],
    ["with binary", "a: !!binary aGk=\n", 1, 4],
    ["with a set", "a: !!set {x}\n", 1, 4],
    ["with an ordered map", "a: !!omap [x: 1]\n", 1, 4],
    ["with a value that does not fit its tag", "a: !!int x\n", 1, 4],
    ["with a tag directive", "%TAG ! tag:example.com,2000:\n---\na: 1\n", 1, 1],
    ["with a complex key", "? [a]\n: b\n", 1, 3],
    ["behind bare carriage returns", "a: 1\r\nb: 2\rc: .nan\n", 3, 4],
    ["with .nan", "a: .nan\n", 1, 4],
    ["with -.inf", "a: -.inf\n", 1, 4],
    ["with a number beyond a double", "a: 1e400\n", 1, 4],
    ["with an integer that JavaScript cannot hold", "a: 9007199254740993\n", 1, 4],
    ["with 2^60, whose digits JavaScript rounds", "a: 1152921504606846976\n", 1, 4],
    ["with a float whose digits JavaScript rounds", "a: 9007199254740993.0\n", 1, 4],
    ["with a large integer in hexadecimal", "a: 0xffffffffffffffffff\n", 1, 4],
    ["with the key __proto__", "a:\n  __proto__: 1\n", 2, 3],
    ["with a control character", "a: b\nc: \u0007\n", 2, 4],
    ["with a NUL", "a: \0\n", 1, 4],
    ["with a C1 control character in a comment", "a: 1 # \u0080\n", 1, 8],
    [
      "with blank lines behind an escaped line end, which readers take for nothing, one line feed or two",
      'a: 1\nb: "x\\\\\\\n \n\n  y"\n',
      2,
      4,
    ],
    ["with half a surrogate pair", 'a: "\\ud800"\n', 1, 4],
  ]
  for (const [what, source, line, column] of refused) {
    test(`${what}, and says where`, () => {
      const { code, error } = refusal(() => read(source, yaml))
      assert.equal(code, "config_unparsable")
      assert.deepEqual({ line: error?.line, column: error?.column }, { line, column })
    })
  }

  test("with an integer that only 1.1 reads so, when 1.1 decides", () => {
    const source = "a: 99999999999999999:59\n"
    assert.equal(refusal(() => read(source, yaml11)).code, "config_unparsable")
    assert.deepEqual(read(source, yaml12).value, { a: "99999999999999999:59" })
  })

  const bomb = `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`)}]\n`).join("")}`
  const tooComplex: readonly (readonly [what: string, source: string])[] = [
    ["that is nested 101 deep", "[".repeat(101) + "]".repeat(101)],
    ["that is nested 101 deep in block style", "- ".repeat(102)],
    [
      "that aliases nest 101 deep",
      `a: &a ${"[".repeat(60)}${"]".repeat(60)}\nb: ${"[".repeat(60)}*a${"]".repeat(60)}\n`,
    ],
    ["with 51 aliases", `a: &a 1\nb: [${Array(51).fill("*a")}]\n`],
    ["with a bomb of aliases", bomb],
    ["with long text repeated by aliases", `a: &a "${"x".repeat(200_000)}"\nb: [${Array(40).fill("*a")}]\n`],
    ["with 50 001 values", "- a\n".repeat(50_001)],
  ]
  for (const [what, source] of tooComplex) {
    test(`${what} as too complex, and says where`, () => {
      const { code, error } = refusal(() => read(source, yaml))
      assert.equal(code, "config_too_complex")
      assert.ok(error?.line && error.column)
    })
  }

  test("but takes what is just within the limits", () => {
    read("[".repeat(100) + "]".repeat(100), yaml)
    read(`a: &a 1\nb: [${Array(50).fill("*a")}]\n`, yaml)
    read("- a\n".repeat(49_999), yaml)
  })

  test("without repeating anything of it", () => {
    for (const source of [
      'k: !!int "s3cret"',
      "k: *s3cret",
      "k: !s3cret{} x",
      "%TAG !s3cret! x\n%TAG !s3cret! y\n---\n",
      "? [s3cret]\n: 1",
    ]) {
      const { message, error } = refusal(() => read(source, yaml))
      assert.doesNotMatch(message + JSON.stringify(error), /s3cret/, source)
    }
  })

  test("of a MiB without long thought", () => {
    const mebibyte = (piece: string) => piece.repeat(Math.floor((1 << 20) / piece.length))
    for (const piece of [
      "- a\n",
      "[",
      "[],",
      "a: 1\r",
      "*a\n",
      "---\n",
      "&a ",
      "? ",
      "!a\n",
      "'",
      '"\\',
      "a: &a\n",
      "\t",
      "{a: ",
    ]) {
      const source = mebibyte(piece)
      const used = cpuMs(() => attempt(() => read(piece === "\t" ? `a:\n${source}x: 1` : source, yaml)))
      assert.ok(used < 1500, `${JSON.stringify(piece)} took ${used.toFixed(0)} ms of CPU`)
    }
  })
})

suite("a YAML block that ends the file without a line end", () => {
  test("is found of a MiB without long thought", () => {
    for (const piece of ["x", "x ", "\r  x", "\n  x", "\n\n", " "]) {
      const text = `a: |\n  x${piece.repeat(1 << 18)}\r  x`
      const used = cpuMs(() => attempt(() => read(text, yaml)))
      assert.ok(used < 1500, `${JSON.stringify(piece)} took ${used.toFixed(0)} ms of CPU`)
    }
  })
})

suite("a YAML document knows where its values stand", () => {
  const source =
    "# head\na:\n  - x\n  - b: |\n      hi\n    c: \"q\"\n    d: 'r'\ne:\nf: &z {k: 1}\ng: *z\nh:\n  <<: *z\n'i/~': 2\nj: >- # note\n  folded\n"
  const { locate } = read(source, yaml)
  const places: readonly (readonly [pointer: string, line: number, column: number])[] = [
    ["", 2, 1],
    ["/a/0", 3, 5],
    ["/a/1", 4, 5],
    ["/a/1/b", 4, 8],
    ["/a/1/c", 6, 8],
    ["/a/1/d", 7, 8],
    ["/e", 8, 2],
    ["/g", 10, 4],
    ["/g/k", 9, 11],
    ["/h/k", 9, 11],
    ["/i~1~0", 13, 8],
    ["/j", 14, 4],
  ]
  for (const [pointer, line, column] of places) {
    test(`${JSON.stringify(pointer)} at ${line}:${column}`, () => assert.deepEqual(locate(pointer), { line, column }))
  }

  test("or at least their nearest ancestor", () => {
    assert.deepEqual(locate("/a/1/nope/deeper"), locate("/a/1"))
    assert.deepEqual(locate("/a/01"), locate("/a"))
    assert.deepEqual(locate("/constructor"), locate(""))
  })

  test("and nothing for what is no pointer", () => assert.equal(locate("a"), null))
})

suite("countComments of YAML", () => {
  const count = (source: string) => countComments(Buffer.from(source), yaml)

  test("counts full lines and ends of lines", () => {
    assert.equal(count("# one\na: 1 # two\n\n  # three\nb:\n  - x # four\n"), 4)
    assert.equal(count("# one\n# two\n"), 2)
    assert.equal(count("a: | # one\n  text\nb: [1, # two\n  2]\n"), 2)
  })

  test("takes no # in a value for one", () => {
    assert.equal(count("a: x#y\nb: \"# no\"\nc: '# no'\nd: |\n  # no\n  # no\ne: >\n  # no\n'# f': 1\n"), 0)
  })

  test("goes by looks in what cannot be parsed, and is 0 in what is not UTF-8", () => {
    assert.equal(count('# one\na: x#y "z" # two\nb: "'), 2)
    assert.equal(countComments(Buffer.from([0x23, 0xff]), yaml), 0)
  })
})

suite("countTypes of YAML", () => {
  const count = (source: string, kind = yaml) => countTypes(Buffer.from(source), kind)

  test("counts keys that are no text, and dates, where they are written", () => {
    assert.equal(count("80: http\n443: https\nyes: 1\n~: 2\n1.5: 3\nuntil: 2027-01-01\n"), 6)
    assert.equal(count("a: &x {80: http}\nb: *x\nc: [2027-01-01 10:00:00, {!!int 7: 1}]\n"), 3)
  })

  test("takes for text what its version does", () => {
    const source = "yes: 2027-01-01\n80: 1\n"
    assert.deepEqual([count(source), count(source, yaml11), count(source, yaml12)], [3, 3, 1])
  })

  test("is 0 for text keys, other values, other formats and what cannot be parsed", () => {
    assert.equal(count("'80': 1\na: 80\nb: yes\nc: '2027-01-01'\n<<: {!!str 7: 1}\n!  9: 1\n"), 0)
    assert.equal(count("80: 1\n80: '"), 0)
    assert.equal(count("# nothing\n"), 0)
    assert.equal(countTypes(Buffer.from('{"80":1}'), json), 0)
  })
})

suite("countRetyped of YAML", () => {
  test("of many values without long thought", () => {
    const keys = Array.from({ length: 9_000 }, (_, index) => `k${index}`)
    const entries = keys.map((key, index) => [key, index === 0 ? "other" : "no"] as const)
    for (const [source, written] of [
      [`[${keys.map((key) => `{${key}: no}`).join(", ")}]`, entries.map(([key, value]) => ({ [key]: value }))],
      [`[${keys.map(() => "{a: {b: no}}").join(", ")}]`, keys.map(() => ({ a: { b: "no" } }))],
      [keys.map((key) => `${key}: no\n`).join(""), Object.fromEntries(entries)],
      [keys.map((key) => `${key}: no\n`).join(""), { other: keys.map(() => ["no"]) }],
    ] as const) {
      const count = () => countRetyped(Buffer.from(source), yaml, written)
      assert.ok(count() >= 8_999)
      assert.ok(cpuMs(count) < 1000)
    }
  })
})
