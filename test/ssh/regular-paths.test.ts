import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { RegularPaths } from "../../src/ssh/regular-paths.ts"

const many = Array.from({ length: 10_000 }, (_, index) => `/copies/${index}.cmb`)

suite("The paths at which a regular file was seen", () => {
  test("are forgotten when many others were read since", () => {
    const paths = new RegularPaths()
    for (const path of many) paths.add(path)
    assert.ok(many.filter((path) => paths.has(path)).length <= 256)
    assert.equal(paths.has("/copies/9999.cmb"), true)
  })

  test("are kept where they are read again and again among many that are read once", () => {
    const paths = new RegularPaths()
    paths.add("/etc/app.yml")
    for (const path of many) {
      paths.add(path)
      assert.equal(paths.has("/etc/app.yml"), true, path)
      paths.add("/etc/app.yml")
    }
  })

  test("are forgotten when something else is found there", () => {
    const paths = new RegularPaths()
    paths.add("/etc/app.yml")
    paths.delete("/etc/app.yml")
    assert.equal(paths.has("/etc/app.yml"), false)
  })
})
