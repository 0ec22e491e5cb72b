/**
 * The real file system behind the FileOps port. Runs in the writer worker, so calls are
 * synchronous: a hard mount that hangs stops this thread only, and a call costs no thread hop.
 *
 * Nothing is kept open between calls. A cached directory descriptor saves nothing measurable
 * (0.8 ms an append with and without), and may name a directory that was renamed away or forgotten.
 *
 * With `sync: false` nothing is synced, and what is published survives the processes but not a loss
 * of power: for measuring what syncing costs, never for a ledger that anybody relies on.
 */
import * as fs from "node:fs";
import { assert } from "../base/assert.ts";
import type { Content, FileOps, FileStatus, FileSystem } from "./file-ops.ts";

/** statfs(2) magic numbers of <linux/magic.h> and of the parallel file systems. */
const TYPES: Readonly<Record<number, string>> = {
  61267: "ext", // 0xef53
  1481003842: "xfs", // 0x58465342
  2435016766: "btrfs", // 0x9123683e
  16914836: "tmpfs", // 0x01021994
  2240043254: "ramfs", // 0x858458f6
  26985: "nfs", // 0x6969
  198183888: "lustre", // 0x0bd00bd0
  1196443219: "gpfs", // 0x47504653
  428016422: "beegfs", // 0x19830326
  12805120: "ceph", // 0x00c36400
  2035054128: "overlay", // 0x794c7630
  1702057286: "fuse", // 0x65735546
  16914839: "9p", // 0x01021997
  801189825: "zfs", // 0x2fc12fc1
  4283649346: "cifs", // 0xff534d42
};

/** One writev takes at most this many parts (IOV_MAX of Linux). */
const WRITEV_PARTS_MAX = 1024;
/** Read back in pieces of this size: half the time of reading 1 MiB whole. */
const PIECE_BYTES = 256 * 1024;
/** Small parts of a stream are gathered up to this many bytes a call. */
const GATHERED_BYTES = 1024 * 1024;

export class NodeFileOps implements FileOps {
  /** Kept for reading back: a fresh buffer of a large record costs more than the comparison. */
  readonly #piece = new Uint8Array(PIECE_BYTES);
  readonly #sync: (file: number) => void;

  constructor({ sync = true }: { readonly sync?: boolean } = {}) {
    this.#sync = sync ? fs.fsyncSync : () => {};
  }

  async writeExclusive(path: string, content: Content): Promise<void> {
    const file = fs.openSync(path, "wx", 0o644);
    try {
      if (typeof content === "function") {
        await writeStream(file, content());
      } else {
        writeAll(file, content);
      }
      this.#sync(file);
    } finally {
      fs.closeSync(file);
    }
  }

  async link(from: string, to: string): Promise<void> {
    fs.linkSync(from, to);
  }

  async unlink(path: string): Promise<void> {
    fs.unlinkSync(path);
  }

  async rename(from: string, to: string): Promise<void> {
    fs.renameSync(from, to);
  }

  async makeDirectory(path: string): Promise<void> {
    fs.mkdirSync(path, 0o755);
  }

  async removeDirectory(path: string): Promise<void> {
    fs.rmdirSync(path);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#syncPath(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  }

  async syncFile(path: string): Promise<void> {
    this.#syncPath(path, fs.constants.O_RDONLY);
  }

  async readFile(path: string): Promise<Uint8Array> {
    const file = fs.openSync(path, "r");
    try {
      return readFully(file, 0, fs.fstatSync(file).size);
    } finally {
      fs.closeSync(file);
    }
  }

  async readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    const file = fs.openSync(path, "r");
    try {
      return readFully(file, offset, length);
    } finally {
      fs.closeSync(file);
    }
  }

  async holds(path: string, parts: readonly Uint8Array[]): Promise<boolean> {
    const file = fs.openSync(path, "r");
    try {
      return holdsAll(file, this.#piece, parts);
    } finally {
      fs.closeSync(file);
    }
  }

  async readDirectory(path: string): Promise<string[]> {
    return fs.readdirSync(path);
  }

  async status(path: string): Promise<FileStatus | undefined> {
    let file: number;
    try {
      // Opening, not stat: NFS answers stat from its cache, and asks the server at open.
      file = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    try {
      const stat = fs.fstatSync(file);
      const kind = stat.isFile() ? "file" : stat.isDirectory() ? "directory" : "other";
      return {
        kind,
        bytes: stat.size,
        links: stat.nlink,
        inode: stat.ino,
        modifiedMs: stat.mtimeMs,
      };
    } finally {
      fs.closeSync(file);
    }
  }

  async fileSystem(path: string): Promise<FileSystem> {
    const stat = fs.statfsSync(path);
    return {
      type: TYPES[stat.type >>> 0] ?? `0x${(stat.type >>> 0).toString(16)}`,
      freeBytes: stat.bavail * stat.bsize,
      freeInodes: stat.ffree,
    };
  }

  async pause(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  #syncPath(path: string, flags: number): void {
    const handle = fs.openSync(path, flags);
    try {
      this.#sync(handle);
    } finally {
      fs.closeSync(handle);
    }
  }
}

/** writev until nothing is left: the kernel may take less than it is given. */
function writeAll(file: number, parts: readonly Uint8Array[]): void {
  let pending = parts.filter((part) => part.length > 0);
  while (pending.length > 0) {
    let written = fs.writevSync(file, pending.slice(0, WRITEV_PARTS_MAX));
    assert(written > 0, "writev of some bytes wrote none and reported no error");
    let taken = 0;
    while (taken < pending.length && written >= pending[taken].length) {
      written -= pending[taken++].length;
    }
    pending = pending.slice(taken);
    if (written > 0) pending[0] = pending[0].subarray(written);
  }
}

async function writeStream(file: number, stream: AsyncIterable<Uint8Array>): Promise<void> {
  let gathered: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of stream) {
    gathered.push(part);
    bytes += part.length;
    if (bytes < GATHERED_BYTES) continue;
    writeAll(file, gathered);
    gathered = [];
    bytes = 0;
  }
  writeAll(file, gathered);
}

function holdsAll(file: number, piece: Uint8Array, parts: readonly Uint8Array[]): boolean {
  let length = 0;
  for (const part of parts) length += part.length;
  if (fs.fstatSync(file).size !== length) return false;
  let position = 0;
  for (const part of parts) {
    for (let done = 0; done < part.length; ) {
      const wanted = Math.min(piece.length, part.length - done);
      const count = fs.readSync(file, piece, 0, wanted, position);
      if (count === 0) return false;
      const same =
        Buffer.compare(piece.subarray(0, count), part.subarray(done, done + count)) === 0;
      if (!same) return false;
      done += count;
      position += count;
    }
  }
  return true;
}

function readFully(file: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const count = fs.readSync(file, bytes, filled, length - filled, offset + filled);
    if (count === 0) return bytes.subarray(0, filled);
    filled += count;
  }
  return bytes;
}
