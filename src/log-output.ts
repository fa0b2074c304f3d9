import { writeSync } from "node:fs"

const standardOutput = 1
const lineEnd = 0x0a
/** How long lines wait for others that are written with them; and as many characters do not wait. */
const gatherMs = 2
const mostWaiting = 8 * 1024
/** Bytes that wait for a reader who does not read; lines beyond them are left out. */
const mostUnread = 1024 * 1024
/** When a reader who did not read is tried again. */
const againMs = 10
/** How long the end of the process waits for such a reader. */
const lastWordsMs = 1000

/**
 * Lines on standard output, written a moment later: those of requests that are served together share a system call, which costs
 * more than all the rest of a line. A reader who stands still, a reader who has gone or a full disk
 * costs lines, never the work that they tell of.
 */
export class LogOutput {
  #waiting = ""
  readonly #unread: Buffer[] = []
  #unreadBytes = 0
  #again: NodeJS.Timeout | undefined
  /** Lines that were left out and not told of yet. */
  #lost = 0
  /** What was written last is not the end of a line. */
  #inLine = false

  constructor() {
    // To be asked for makes Node open it, and a pipe that Node has opened says EAGAIN where it would stop the whole process.
    void process.stdout
    process.once("exit", () => this.#end())
  }

  write(line: string): void {
    if (this.#waiting === "") setTimeout(() => this.#flush(), gatherMs).unref()
    this.#waiting += line
    if (this.#waiting.length > mostWaiting) this.#flush()
  }

  #flush(): void {
    const lines = this.#waiting
    this.#waiting = ""
    if (lines === "") return
    if (this.#unreadBytes > mostUnread) {
      this.#lost += linesIn(lines)
      return
    }
    const next = Buffer.from(this.#gap() + lines)
    this.#unread.push(next)
    this.#unreadBytes += next.length
    // Each try is a system call that would fail once more.
    if (this.#again === undefined) this.#push()
  }

  #push(): void {
    this.#again = undefined
    if (!this.#tryAll()) this.#again = setTimeout(() => this.#push(), againMs).unref()
  }

  /** @returns false where the reader does not read now */
  #tryAll(): boolean {
    try {
      for (let [first] = this.#unread; first; [first] = this.#unread) {
        const length = writeSync(standardOutput, first)
        this.#inLine = first[length - 1] !== lineEnd
        this.#unreadBytes -= length
        if (length === first.length) this.#unread.shift()
        else this.#unread[0] = first.subarray(length)
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false
      this.#lost += linesIn(Buffer.concat(this.#unread.splice(0)).toString())
      this.#unreadBytes = 0
    }
    return true
  }

  /** What stands between lines that were left out and those that follow. */
  #gap(): string {
    const lost = this.#lost
    if (lost === 0) return ""
    this.#lost = 0
    const line = {
      level: 40,
      time: new Date().toISOString(),
      lost,
      msg: "lines of this log were lost: they could not be written",
    }
    return `${this.#inLine && this.#unreadBytes === 0 ? "\n" : ""}${JSON.stringify(line)}\n`
  }

  #end(): void {
    this.#flush()
    const until = performance.now() + lastWordsMs
    while (!this.#tryAll() && performance.now() < until) pause(10)
  }
}

function linesIn(text: string): number {
  return text.split("\n").length - 1
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
