/** One host's view of a SimulatedDisk: FileOps, step by step, each a place where it may fail. */
import { concatBytes, equalBytes } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import {
  type Content,
  type FileOps,
  type FileStatus,
  type FileSystem,
  isAbsent,
} from "./file-ops.ts";
import { DiskError, type DiskStep, type Node, type SimulatedDisk } from "./simulated-disk.ts";

export class SimulatedHost implements FileOps {
  readonly #disk: SimulatedDisk;
  readonly name: string;
  #alive = true;

  constructor(disk: SimulatedDisk, name: string) {
    this.#disk = disk;
    this.name = name;
  }

  get alive(): boolean {
    return this.#alive;
  }

  kill(): void {
    this.#alive = false;
  }

  async writeExclusive(path: string, content: Content): Promise<void> {
    const node = await this.#step("create", path, () => {
      const { directory, name } = this.#disk.place(path);
      if (directory.entries.has(name)) throw new DiskError("EEXIST", path);
      const made = this.#disk.newNode("file", this.name);
      this.#change([{ directory, name, node: made }]);
      return made;
    });
    if (typeof content === "function") {
      for await (const part of content()) await this.#write(node, path, part);
    } else {
      await this.#write(node, path, concatBytes(content));
    }
    await this.#syncBytes(node, path);
  }

  async link(from: string, to: string): Promise<void> {
    await this.#step("link", to, () => {
      const node = this.#get(from);
      const { directory, name } = this.#disk.place(to);
      if (directory.entries.has(name)) throw new DiskError("EEXIST", to);
      this.#change([{ directory, name, node }]);
    });
  }

  async unlink(path: string): Promise<void> {
    await this.#step("unlink", path, () => {
      if (this.#get(path).kind === "directory") throw new DiskError("EISDIR", path);
      this.#change([{ ...this.#disk.place(path), node: undefined }]);
    });
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step("rename", from, () => {
      const node = this.#get(from);
      this.#change([
        { ...this.#disk.place(to), node },
        { ...this.#disk.place(from), node: undefined },
      ]);
    });
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#step("makeDirectory", path, () => {
      const { directory, name } = this.#disk.place(path);
      if (directory.entries.has(name)) throw new DiskError("EEXIST", path);
      const node = this.#disk.newNode("directory", this.name);
      this.#change([{ directory, name, node }]);
    });
  }

  async removeDirectory(path: string): Promise<void> {
    await this.#step("removeDirectory", path, () => {
      const node = this.#directory(path);
      if (node.entries.size > 0) throw new DiskError("ENOTEMPTY", path);
      this.#change([{ ...this.#disk.place(path), node: undefined }]);
    });
  }

  async syncDirectory(path: string): Promise<void> {
    try {
      await this.#step("syncDirectory", path, () => {
        this.#disk.syncNames(this.#directory(path), this.name);
      });
    } catch (error) {
      const directory = this.#disk.find(path);
      if (errorCode(error) === "EIO" && directory !== undefined) {
        this.#disk.loseNames(directory, this.name);
      }
      throw error;
    }
  }

  async syncFile(path: string): Promise<void> {
    await this.#syncBytes(this.#get(path), path);
  }

  async readFile(path: string): Promise<Uint8Array> {
    return await this.#step("read", path, () => this.#file(path).bytes.slice());
  }

  async readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    const end = offset + length;
    return await this.#step("read", path, () => this.#file(path).bytes.slice(offset, end));
  }

  async holds(path: string, parts: readonly Uint8Array[]): Promise<boolean> {
    const wanted = concatBytes(parts);
    return await this.#step("read", path, () => equalBytes(this.#file(path).bytes, wanted));
  }

  async readDirectory(path: string): Promise<string[]> {
    return await this.#step("readDirectory", path, () => [...this.#directory(path).entries.keys()]);
  }

  async status(path: string): Promise<FileStatus | undefined> {
    try {
      return await this.#step("status", path, () => {
        const { kind, links, inode, modifiedMs, bytes } = this.#get(path);
        return { kind, bytes: bytes.length, links, inode, modifiedMs };
      });
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async fileSystem(path: string): Promise<FileSystem> {
    return await this.#step("fileSystem", path, () => {
      this.#get(path);
      return { type: this.#disk.type, freeBytes: this.#disk.freeBytes, freeInodes: 1 << 30 };
    });
  }

  async pause(): Promise<void> {
    if (!this.#alive) return await never();
  }

  #change(change: Parameters<SimulatedDisk["change"]>[0]): void {
    this.#disk.change(change, this.name);
  }

  #get(path: string): Node {
    const node = this.#disk.find(path);
    if (node === undefined) throw new DiskError("ENOENT", path);
    return node;
  }

  #directory(path: string): Node {
    const node = this.#get(path);
    if (node.kind !== "directory") throw new DiskError("ENOTDIR", path);
    return node;
  }

  #file(path: string): Node {
    const node = this.#get(path);
    if (node.kind !== "file") throw new DiskError("EISDIR", path);
    return node;
  }

  async #write(node: Node, path: string, part: Uint8Array): Promise<void> {
    await this.#step("write", path, () => this.#disk.write(node, part, path));
  }

  async #syncBytes(node: Node, path: string): Promise<void> {
    try {
      await this.#step("syncFile", path, () => this.#disk.syncBytes(node));
    } catch (error) {
      // The kernel marks pages clean that it could not write: the next fsync says "done".
      node.dirty = false;
      throw error;
    }
  }

  async #step<T>(step: DiskStep["step"], path: string, act: () => T): Promise<T> {
    if (!this.#alive) return await never();
    const fault = this.#disk.nextStep({ host: this.name, step, path });
    if (fault?.delayMs !== undefined && this.#disk.clock !== undefined) {
      const { clock } = this.#disk;
      const { delayMs } = fault;
      await new Promise<void>((resolve) => clock.schedule(delayMs, resolve));
      if (!this.#alive) return await never();
    } else {
      // A turn of the queue, so that other hosts' steps come in between.
      await undefined;
    }
    if (fault?.crash !== undefined && !fault.happens) return await this.#crash(fault.crash);
    if (fault?.code !== undefined && !fault.happens) throw new DiskError(fault.code, path);
    // Only of steps that answer nothing, as a sync is.
    const result = fault?.lies === true ? (undefined as T) : act();
    if (fault?.crash !== undefined) return await this.#crash(fault.crash);
    if (fault?.code !== undefined) throw new DiskError(fault.code, path);
    return result;
  }

  async #crash(what: "power" | "host"): Promise<never> {
    if (what === "power") this.#disk.losePower();
    else this.#disk.crashHost(this.name);
    return await never();
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}
