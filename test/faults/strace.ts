/** A call as strace saw it: lines of the trace at which it began and ended. */
export interface TracedCall {
  readonly name: string
  /** Of the descriptor, or of the arguments. */
  readonly paths: readonly string[]
  /** The arguments as they stand in the trace. */
  readonly text: string
  readonly begin: number
  readonly end: number
}

const callLine = /^(\d+) +(\w+)\((.*)$/
const resumedLine = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/

/** Reads the output of `strace -f -y`; calls that failed are left out. */
export function readTrace(trace: string): readonly TracedCall[] {
  const calls: TracedCall[] = []
  const unfinished = new Map<string, { readonly name: string; readonly text: string; readonly begin: number }>()
  for (const [index, line] of trace.split("\n").entries()) {
    const [, pid = "", name = "", text = ""] = callLine.exec(line) ?? resumedLine.exec(line) ?? []
    const isResumed = resumedLine.test(line)
    if (name === "") continue
    if (text.endsWith("<unfinished ...>")) {
      unfinished.set(pid, { name, text, begin: index })
      continue
    }
    const started = isResumed ? unfinished.get(pid) : undefined
    const whole = `${started?.text ?? ""}${text}`
    if (/= -1 E/.test(whole)) continue
    calls.push({ name, paths: pathsOf(whole), text: whole, begin: started?.begin ?? index, end: index })
  }
  return calls
}

/** `7</path>` of a descriptor that is handed in, and `"/path"` of an argument; not what the call returns. */
function pathsOf(text: string): readonly string[] {
  const given = text.replace(/= \d+(<[^>]*>)?$/, "")
  return [...given.matchAll(/\d+<(\/[^>]*)>|"(\/[^"]*)"/g)].map((match) => match[1] ?? match[2] ?? "")
}
