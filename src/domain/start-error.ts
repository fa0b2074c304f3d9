/** Why the service does not start, in words for its operator. The process ends with exit code 78 (sysexits.h, EX_CONFIG). */
export class StartError extends Error {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.name = "StartError"
  }
}
