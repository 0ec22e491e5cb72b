/**
 * File operations that open by path once more when a handle turned stale in between (GPFS after a
 * loss of quorum, NFS after a restart of the server), for calls that may be repeated: reads, and
 * syncs by path. ESTALE says that nothing was synced, unlike EIO, after which a second sync of the
 * same thing proves nothing: EIO passes at once. What creates or links is the publisher's to repeat.
 */
import {
  type Content,
  type FileOps,
  type FileStatus,
  type FileSystem,
  isStale,
} from "./file-ops.ts";

export class ReopeningOps implements FileOps {
  private readonly ops: FileOps;

  constructor(ops: FileOps) {
    this.ops = ops;
  }

  writeExclusive(path: string, content: Content): Promise<void> {
    return this.ops.writeExclusive(path, content);
  }

  link(from: string, to: string): Promise<void> {
    return this.ops.link(from, to);
  }

  unlink(path: string): Promise<void> {
    return this.ops.unlink(path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.ops.rename(from, to);
  }

  makeDirectory(path: string): Promise<void> {
    return this.ops.makeDirectory(path);
  }

  removeDirectory(path: string): Promise<void> {
    return this.ops.removeDirectory(path);
  }

  syncDirectory(path: string): Promise<void> {
    return again(() => this.ops.syncDirectory(path));
  }

  syncFile(path: string): Promise<void> {
    return again(() => this.ops.syncFile(path));
  }

  readFile(path: string): Promise<Uint8Array> {
    return again(() => this.ops.readFile(path));
  }

  readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    return again(() => this.ops.readRange(path, offset, length));
  }

  holds(path: string, parts: readonly Uint8Array[]): Promise<boolean> {
    return again(() => this.ops.holds(path, parts));
  }

  readDirectory(path: string): Promise<string[]> {
    return again(() => this.ops.readDirectory(path));
  }

  status(path: string): Promise<FileStatus | undefined> {
    return again(() => this.ops.status(path));
  }

  fileSystem(path: string): Promise<FileSystem> {
    return again(() => this.ops.fileSystem(path));
  }

  pause(): Promise<void> {
    return this.ops.pause();
  }
}

async function again<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!isStale(error)) throw error;
  }
  return await call();
}
