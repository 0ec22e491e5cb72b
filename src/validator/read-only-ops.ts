/**
 * File operations of a rank that may read the ledger directory and write nothing: the validator is
 * its only writer. What would change a file is refused here as the kernel would refuse it.
 */
import { BaashError, EXIT } from "../base/errors.ts";
import type { FileOps, FileStatus, FileSystem } from "../storage/file-ops.ts";

function refused(path: string): never {
  throw new BaashError(
    "READ_ONLY",
    `${path} is not written by ranks: the storage validator of this ledger is its only writer.`,
    { exitCode: EXIT.software, data: { path } },
  );
}

export class ReadOnlyOps implements FileOps {
  private readonly ops: FileOps;

  constructor(ops: FileOps) {
    this.ops = ops;
  }

  writeExclusive(path: string): Promise<void> {
    return refused(path);
  }
  link(_from: string, to: string): Promise<void> {
    return refused(to);
  }
  unlink(path: string): Promise<void> {
    return refused(path);
  }
  rename(_from: string, to: string): Promise<void> {
    return refused(to);
  }
  makeDirectory(path: string): Promise<void> {
    return refused(path);
  }
  removeDirectory(path: string): Promise<void> {
    return refused(path);
  }
  /** Its writer has done it before it told anybody. */
  async syncDirectory(): Promise<void> {}
  async syncFile(): Promise<void> {}

  readFile(path: string): Promise<Uint8Array> {
    return this.ops.readFile(path);
  }
  readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    return this.ops.readRange(path, offset, length);
  }
  holds(path: string, parts: readonly Uint8Array[]): Promise<boolean> {
    return this.ops.holds(path, parts);
  }
  readDirectory(path: string): Promise<string[]> {
    return this.ops.readDirectory(path);
  }
  status(path: string): Promise<FileStatus | undefined> {
    return this.ops.status(path);
  }
  fileSystem(path: string): Promise<FileSystem> {
    return this.ops.fileSystem(path);
  }
  pause(): Promise<void> {
    return this.ops.pause();
  }
}
