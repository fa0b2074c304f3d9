// Asks the service whether it lives: exit code 0, or 1 and why. For images, which have no curl.
// HEALTH_URL: where it listens, if not on http://127.0.0.1:8080.
import http from "node:http"
import https from "node:https"

const url = new URL("/healthz", process.env.HEALTH_URL ?? "http://127.0.0.1:8080")
const { get } = url.protocol === "https:" ? https : http
// On this machine a certificate proves nothing, and it is made out to another name.
const request = get(url, { timeout: 4000, rejectUnauthorized: false }, (answer) => {
  answer.resume()
  if (answer.statusCode !== 200) fail(`it answers ${answer.statusCode}`)
})
request.on("timeout", () => request.destroy(new Error("no answer within 4 s")))
request.on("error", (error) => fail(error.message))

function fail(why) {
  process.stderr.write(`${url.href}: ${why}\n`)
  process.exitCode = 1
}
