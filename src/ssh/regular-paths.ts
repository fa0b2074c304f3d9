/** More than a VM has configs; what is read once only (a second name, a copied blob) pushes nothing else out for long. */
const mostPaths = 256

/** Paths of a VM at which a regular file was seen: those that were read last. */
export class RegularPaths {
  /** In the order of their last use. */
  readonly #paths = new Set<string>()

  has(path: string): boolean {
    return this.#paths.has(path)
  }

  add(path: string): void {
    this.#paths.delete(path)
    this.#paths.add(path)
    const [oldest] = this.#paths
    if (this.#paths.size > mostPaths && oldest !== undefined) this.#paths.delete(oldest)
  }

  delete(path: string): void {
    this.#paths.delete(path)
  }
}
