import { constants } from "node:fs"
import { basename, dirname } from "node:path"
import type { FsPort, OpenFile } from "../../src/blobs/fs-port.ts"
import { contentsAfterCrash, productOf } from "./crash-choices.ts"

/** What stands on the disk: path -> bytes, or `null` for a directory. */
export type Tree = ReadonlyMap<string, Buffer | null>

interface FileNode {
  readonly kind: "file"
  data: Buffer
  /** What a power cut leaves for certain. */
  durable: Buffer
  /** What it held since, oldest first: any of it may have reached the disk. */
  unsynced: Buffer[]
}

interface DirectoryNode {
  readonly kind: "directory"
  readonly entries: Map<string, Node>
  readonly durable: Map<string, Node>
}

type Node = FileNode | DirectoryNode
/** What one call does to names; it reaches the disk whole or not at all. */
type Change = readonly { readonly directory: DirectoryNode; readonly name: string; readonly node: Node | null }[]

/**
 * A file system in memory that knows what fsync promises and nothing more (POSIX, fsync(2)): bytes are durable once their file
 * was synced, names once their directory was. `crashStates` tells everything that may stand there after the power went.
 */
export class ModelFs implements FsPort {
  /** Called after each call that changed or synced something. */
  onStep: () => void = () => {}
  /** What `freeBytes` tells. */
  free = 0
  readonly #root: DirectoryNode = newDirectory()
  /** What was done to names and not synced: any part of it may have reached the disk. */
  #unsynced: Change[] = []
  /** Lets other calls that are under way come first, as a thread pool does. */
  readonly #pause: () => Promise<void>

  constructor(tree: Tree = new Map(), pause: () => Promise<void> = async () => {}) {
    this.#pause = pause
    for (const [path, bytes] of [...tree].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const { entries, durable } = this.#directory(dirname(path))
      const node = bytes === null ? newDirectory() : newFile(bytes)
      for (const names of [entries, durable]) names.set(basename(path), node)
    }
  }

  async open(path: string, flags: number): Promise<OpenFile> {
    await this.#pause()
    const has = (flag: number): boolean => (flags & flag) === flag
    const found = this.#find(path)
    if (found && has(constants.O_CREAT | constants.O_EXCL)) throw errno("EEXIST", path)
    if (!found && !has(constants.O_CREAT)) throw errno("ENOENT", path)
    const node = found ?? newFile(Buffer.alloc(0))
    if (!found) this.#change([path, node])
    if (has(constants.O_DIRECTORY) && node.kind !== "directory") throw errno("ENOTDIR", path)
    return node.kind === "directory" ? this.#openDirectory(node) : this.#openFile(node, has(constants.O_APPEND))
  }

  async mkdir(path: string): Promise<void> {
    await this.#pause()
    if (this.#find(path)) throw errno("EEXIST", path)
    this.#change([path, newDirectory()])
  }

  async link(from: string, to: string): Promise<void> {
    await this.#pause()
    const node = this.#file(from)
    if (this.#find(to)) throw errno("EEXIST", to)
    this.#change([to, node])
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#pause()
    this.#change([from, null], [to, this.#file(from)])
  }

  async unlink(path: string): Promise<void> {
    await this.#pause()
    this.#file(path)
    this.#change([path, null])
  }

  async readdir(path: string): Promise<readonly string[]> {
    await this.#pause()
    return [...this.#directory(path).entries.keys()]
  }

  /** There are no links in it. */
  async realpath(path: string): Promise<string> {
    await this.#pause()
    if (!this.#find(path)) throw errno("ENOENT", path)
    return path
  }

  async exists(path: string): Promise<boolean> {
    await this.#pause()
    return this.#find(path) !== null
  }

  async access(path: string): Promise<void> {
    await this.#pause()
    this.#directory(path)
  }

  async device(path: string): Promise<bigint> {
    await this.#pause()
    if (!this.#find(path)) throw errno("ENOENT", path)
    return 1n
  }

  async inode(path: string): Promise<bigint> {
    return this.device(path)
  }

  async freeBytes(): Promise<number> {
    await this.#pause()
    return this.free
  }

  /** Everything that a reader finds now. */
  tree(): Tree {
    return treeOf(
      this.#root,
      (directory) => directory.entries,
      (file) => file.data,
    )
  }

  /** Everything that may stand there when the power goes now: any mix of what was synced and what was done since. */
  *crashStates(): Generator<Tree> {
    const { files, directories } = this.#nodes()
    for (let subset = 0; subset < 2 ** this.#unsynced.length; subset++) {
      const names = new Map(directories.map((directory) => [directory, new Map(directory.durable)]))
      for (const change of this.#unsynced.filter((_, index) => (subset >> index) & 1)) {
        apply(change, (directory) => names.get(directory) ?? new Map())
      }
      for (const contents of productOf(files.map((file) => contentsAfterCrash(file.durable, file.unsynced)))) {
        const bytes = new Map(files.map((file, index) => [file, contents[index] ?? file.durable]))
        yield treeOf(
          this.#root,
          (directory) => names.get(directory) ?? new Map(),
          (file) => bytes.get(file) ?? file.durable,
        )
      }
    }
  }

  #openFile(node: FileNode, appends: boolean): OpenFile {
    return {
      write: async (bytes, position) => {
        await this.#pause()
        const at = appends ? node.data.length : position
        const data = Buffer.alloc(Math.max(node.data.length, at + bytes.length))
        node.data.copy(data)
        data.set(bytes, at)
        node.data = data
        node.unsynced.push(data)
        this.onStep()
        return bytes.length
      },
      read: async (into, position) => {
        await this.#pause()
        return node.data.copy(into, 0, position)
      },
      size: async () => {
        await this.#pause()
        return node.data.length
      },
      sync: async () => {
        await this.#pause()
        node.durable = node.data
        node.unsynced = []
        this.onStep()
      },
      close: () => this.#pause(),
    }
  }

  #openDirectory(node: DirectoryNode): OpenFile {
    const refuse = async (): Promise<never> => {
      throw errno("EISDIR", "")
    }
    return {
      write: refuse,
      read: refuse,
      size: async () => null,
      sync: async () => {
        await this.#pause()
        this.#syncNames(node)
      },
      close: () => this.#pause(),
    }
  }

  #change(...names: readonly (readonly [path: string, node: Node | null])[]): void {
    const change = names.map(([path, node]) => ({
      directory: this.#directory(dirname(path)),
      name: basename(path),
      node,
    }))
    apply(change, ({ entries }) => entries)
    this.#unsynced.push(change)
    this.onStep()
  }

  /** A change of two directories is one record in the journal of a file system: synced with either. */
  #syncNames(directory: DirectoryNode): void {
    const touches = (change: Change): boolean => change.some((each) => each.directory === directory)
    for (const change of this.#unsynced.filter(touches)) apply(change, ({ durable }) => durable)
    this.#unsynced = this.#unsynced.filter((change) => !touches(change))
    this.onStep()
  }

  /** Every node that has, had or may have a name. */
  #nodes(): { readonly files: readonly FileNode[]; readonly directories: readonly DirectoryNode[] } {
    const nodes = new Set<Node>()
    const visit = (node: Node): void => {
      if (nodes.has(node)) return
      nodes.add(node)
      if (node.kind === "directory")
        for (const next of [...node.entries.values(), ...node.durable.values()]) visit(next)
    }
    visit(this.#root)
    for (const { node } of this.#unsynced.flat()) if (node) visit(node)
    return {
      files: [...nodes].filter((node) => node.kind === "file"),
      directories: [...nodes].filter((node) => node.kind === "directory"),
    }
  }

  #find(path: string): Node | null {
    let node: Node = this.#root
    for (const name of path.split("/").filter((each) => each !== "")) {
      if (node.kind !== "directory") throw errno("ENOTDIR", path)
      const next = node.entries.get(name)
      if (!next) return null
      node = next
    }
    return node
  }

  #directory(path: string): DirectoryNode {
    const node = this.#find(path)
    if (!node) throw errno("ENOENT", path)
    if (node.kind !== "directory") throw errno("ENOTDIR", path)
    return node
  }

  #file(path: string): FileNode {
    const node = this.#find(path)
    if (!node) throw errno("ENOENT", path)
    if (node.kind !== "file") throw errno("EISDIR", path)
    return node
  }
}

function newFile(bytes: Buffer): FileNode {
  return { kind: "file", data: bytes, durable: bytes, unsynced: [] }
}

function newDirectory(): DirectoryNode {
  return { kind: "directory", entries: new Map(), durable: new Map() }
}

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}

function apply(change: Change, namesOf: (directory: DirectoryNode) => Map<string, Node>): void {
  for (const { directory, name, node } of change) {
    if (node) namesOf(directory).set(name, node)
    else namesOf(directory).delete(name)
  }
}

function treeOf(
  root: DirectoryNode,
  namesOf: (directory: DirectoryNode) => ReadonlyMap<string, Node>,
  bytesOf: (file: FileNode) => Buffer,
): Tree {
  const tree = new Map<string, Buffer | null>()
  const visit = (directory: DirectoryNode, path: string): void => {
    for (const [name, node] of namesOf(directory)) {
      const own = `${path}/${name}`
      tree.set(own, node.kind === "file" ? bytesOf(node) : null)
      if (node.kind === "directory") visit(node, own)
    }
  }
  visit(root, "")
  return tree
}
