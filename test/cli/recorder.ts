import type { Output } from "../../src/cli/output.ts"

/** An Output that keeps what was written. */
export class Recorder implements Output {
  stdout = ""
  stderr = ""

  out(text: string): void {
    this.stdout += text
  }

  err(text: string): void {
    this.stderr += text
  }
}
