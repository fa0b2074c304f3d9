import { once } from "node:events"
import { connect } from "node:net"
import type { TestContext } from "node:test"
import { type AppOptions, buildApp } from "../../src/http/app.ts"
import type { Services } from "../../src/http/services.ts"
import { options, standIns } from "./stand-ins.ts"

/** Serves on a free port until the test ends. @returns the base URL */
export async function serve(
  t: TestContext,
  services: Services = standIns(),
  over: Partial<AppOptions> = {},
): Promise<string> {
  const app = await buildApp(services, { ...options, ...over })
  t.after(() => app.close())
  return app.listen({ port: 0, host: "127.0.0.1" })
}

/** Sends bytes as they are and gives back all that is answered until the other side closes. */
export async function raw(base: string, text: string | Buffer, keepOpen = false): Promise<string> {
  const socket = connect(Number(new URL(base).port), "127.0.0.1")
  const chunks: Buffer[] = []
  socket.on("data", (chunk) => chunks.push(chunk))
  // A reset after the answer is no failure of what is looked at here.
  socket.on("error", () => {})
  await once(socket, "connect")
  socket.write(text)
  if (!keepOpen) socket.end()
  await once(socket, "close")
  return Buffer.concat(chunks).toString("latin1")
}

/** What is looked at of an answer that should be a problem. */
export async function problemOf(answer: Response): Promise<Record<string, unknown>> {
  const body = (await answer.json()) as Record<string, unknown>
  return { ...body, contentType: answer.headers.get("content-type") }
}
