import { type TSchema, Type } from "typebox"
import { rawMediaTypes } from "./body.ts"
import { shape } from "./shapes.ts"

/** How routes describe what they take and answer; nothing here decides what is sent. */

type Headers = Readonly<Record<string, TSchema>>

interface Answer {
  readonly description: string
  readonly headers?: Headers
  readonly content: Readonly<Record<string, { readonly schema: TSchema; readonly example?: unknown }>>
}

const etag = Type.String({
  description: "Of this view; of the bytes themselves after a change.",
  examples: ['"<digest>"'],
})

export const etagHeader = { ETag: etag }
export const locationHeader = { Location: Type.String({ description: "URL of the backup." }) }
export const linkHeader = { Link: Type.String({ description: 'Where there is a next page: `<url>; rel="next"`.' }) }

export const contentHeaders = {
  ETag: etag,
  "Last-Modified": Type.String(),
  "X-Config-Path": Type.String({ description: "Path on the VM, percent-encoded outside printable ASCII." }),
  "X-Config-Mode": Type.String({ description: "Octal permission bits.", examples: ["0640"] }),
  "X-Config-Owner": Type.String({ description: "`uid:gid`", examples: ["0:0"] }),
}

/** A JSON answer. */
export function json(description: string, schema: TSchema, headers?: Headers): Answer {
  return { description, ...(headers && { headers }), content: { "application/json": { schema } } }
}

/** An answer in one media type of text. */
export function text(description: string, mediaType: string): Answer {
  return { description, content: { [mediaType]: { schema: Type.String() } } }
}

/** A config's content: its value, or its bytes. */
export const contentAnswer: Answer = {
  description: "The document itself, or its bytes, as Accept asks. Types of format `text` have no JSON view.",
  headers: contentHeaders,
  content: {
    "application/json": { schema: Type.Unknown({ description: "The parsed document, no envelope." }) },
    ...Object.fromEntries(rawMediaTypes.map((type) => [type, { schema: Type.String() }])),
  },
}

export const notModified: { readonly description: string; readonly type: "null"; readonly headers: Headers } = {
  description: "You have this view already.",
  type: "null",
  headers: etagHeader,
}

export const diffAnswer: Answer = {
  description: "The difference, as JSON or as `text/x-diff`.",
  content: { "application/json": { schema: shape("DiffReport") }, "text/x-diff": { schema: Type.String() } },
}

const exampleDocument = { config_version: "1.0", vm_id: "vm01" }
const exampleText = 'config_version: "1.0"\nvm_id: vm01\n'

/** A config as a body: a value to render, or bytes to keep. */
export const configBody = {
  content: {
    "application/json": {
      schema: Type.Unknown({
        description: "A value; it is rendered in the type's format.",
        examples: [exampleDocument],
      }),
    },
    ...Object.fromEntries(
      rawMediaTypes.map((type) => [
        type,
        { schema: Type.String({ description: "Bytes, kept as they are.", examples: [exampleText] }) },
      ]),
    ),
  },
}
