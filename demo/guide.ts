/** What the demo has made ready, for the lines to paste. */
export interface Facts {
  /** Of the service, e.g. `http://127.0.0.1:8080`. */
  readonly url: string
  /** A file on this machine: vm01's config with a change in it. */
  readonly changedFile: string
  /** An older version of vm01's config. */
  readonly oldVersionId: string
  /** What was kept of vm04's config before it was edited by hand: the version and its tag. */
  readonly edited: { readonly backupId: string; readonly etag: string }
}

/** What the demo says once it runs. Each command is a line of its own and can be pasted as it is, in this order. */
export function guide({ url, changedFile, oldVersionId, edited }: Facts): string {
  const config = `${url}/vms/vm01/configs/central`
  const file = quoted(changedFile)
  return `
Config Manager runs on a demo fleet of four VMs: ${url}
Swagger UI, to try every call in a browser: ${url}/docs

The cycle, to paste into another terminal:

# 1. Read the config of a VM
curl -sH 'Accept: application/yaml' ${config}

# 2. See what a change would do: a dry run with its diff
curl -sT ${file} '${config}?dryRun=true' | ${realLineBreaks}

# 3. Write it: validated, the old bytes kept, replaced at once, read back
curl -sw '\\n' -T ${file} ${config}

# 4. List the versions
curl -sw '\\n' '${url}/backups?vmId=vm01&type=central'

# 5. Restore one: how it was in January
curl -sw '\\n' -X POST ${url}/backups/${oldVersionId}/restore

What goes wrong in real life:

# vm03 is down
curl -sw '\\n' ${url}/vms/vm03/configs/central

# vm04's config was edited behind our back: what a restore would take back, and a writer who has not seen the edit
curl -sH 'Accept: text/x-diff' ${url}/backups/${edited.backupId}/diff
curl -sw '\\n' -T ${file} -H 'If-Match: ${edited.etag}' ${url}/vms/vm04/configs/central

Ctrl-C ends it and removes everything that it made.
`
}

/** The diff is a member of a JSON answer; with its line breaks it can be read. awk, because every machine has it. */
const realLineBreaks = `awk '{ gsub(/\\\\n/, "\\n") } 1'`

/** For a POSIX shell. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
