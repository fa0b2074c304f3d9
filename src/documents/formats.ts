import type { FormatName } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { DocumentKind, ParsedDocument } from "./document.ts"
import { countEnvComments, readEnv, renderEnv } from "./env.ts"
import { readJson, renderJson } from "./json.ts"
import { countYamlComments, readYaml, renderYaml } from "./yaml.ts"
import { countYamlRetyped, countYamlTypes } from "./yaml-types.ts"

/** What a format can do with a text that is UTF-8 and has lost its byte order mark. */
interface Format {
  /** @throws {Unreadable} */
  parse(text: string, kind: DocumentKind): ParsedDocument
  /** @param live the text that stands now; null: none. @throws {Fault} `invalid_body`, `config_too_complex` */
  render(value: unknown, live: string | null): string
  /** @throws {Unreadable} */
  countComments(text: string): number
  /** What may be a comment in a text that cannot be parsed; global. */
  readonly commentLike: RegExp
  /** Of scalars whose type a JSON value does not keep. @throws {Unreadable} */
  countTypes(text: string, kind: DocumentKind): number
  /** Of values that `written` has as they are read here, and that a reader of another version read otherwise. @throws {Unreadable} */
  countRetyped(text: string, kind: DocumentKind, written: unknown): number
}

const none = (): number => 0
const hashComment = /(?<=^|\s)#[^\r\n]*/gm
const slashComment = /(?<=^|\s)\/[/*][^\r\n]*/gm

/** The formats a config can have: a new one is a line here. */
export const formats: Readonly<Record<FormatName, Format>> = {
  yaml: {
    parse: (text, kind) => readYaml(text, kind.yamlVersion),
    render: renderYaml,
    countComments: countYamlComments,
    commentLike: hashComment,
    countTypes: (text, kind) => countYamlTypes(text, kind.yamlVersion),
    countRetyped: (text, kind, written) => (kind.yamlVersion === null ? countYamlRetyped(text, written) : 0),
  },
  json: {
    parse: (text) => ({ warnings: [], ...readJson(text) }),
    render: renderJson,
    countComments: noneInJson,
    commentLike: slashComment,
    countTypes: none,
    countRetyped: none,
  },
  env: {
    parse: readEnv,
    render: renderEnv,
    countComments: countEnvComments,
    commentLike: hashComment,
    countTypes: none,
    countRetyped: none,
  },
  text: {
    parse: (text) => ({ value: text, warnings: [], locate: () => ({ line: 1, column: 1 }) }),
    render: renderText,
    countComments: none,
    commentLike: /(?!)/g,
    countTypes: none,
    countRetyped: none,
  },
}

/** Where nothing looks like one a reading is spared. */
function noneInJson(text: string): number {
  if (text.search(slashComment) !== -1) readJson(text)
  return 0
}

function renderText(value: unknown): string {
  if (typeof value === "string") return value
  throw new Fault("invalid_body", "A config of format text is a string.", {
    errors: [{ pointer: "", message: "must be a string" }],
  })
}
