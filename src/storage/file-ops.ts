/**
 * The port to the file system: a tiny vocabulary of operations that are atomic, or that say when
 * they are durable. Everything in storage/ goes through it; twins are `node-file-ops.ts` (real) and
 * `simulated-disk.ts`. Errors are thrown with an errno name in `code` (ENOENT, EEXIST, EIO, …).
 *
 * What is *not* here is deliberate: no append (two hosts corrupt it on NFS), no lock (a hint at
 * best on Lustre and NFS), no overwrite in place and no truncate (the log never does either).
 */
import { errorCode } from "../base/errors.ts";

/** Bytes of a file: in memory, or made on the fly (and again, should a retry need them). */
export type Content = readonly Uint8Array[] | (() => AsyncIterable<Uint8Array>);

export interface FileStatus {
  readonly kind: "file" | "directory" | "other";
  readonly bytes: number;
  /** Hard links: 2 between `link` and the unlink of the temporary name. */
  readonly links: number;
  readonly inode: number;
  /** By the clock of whoever serves the file system, which may not be ours. */
  readonly modifiedMs: number;
}

export interface FileSystem {
  /** "ext", "xfs", "btrfs", "nfs", "lustre", "gpfs", "tmpfs", "overlay", …; "0x…" when unknown. */
  readonly type: string;
  readonly freeBytes: number;
  readonly freeInodes: number;
}

export interface FileOps {
  /** Creates `path` with O_EXCL, writes everything and syncs the file. EEXIST if it exists. */
  writeExclusive(path: string, content: Content): Promise<void>;
  /** Gives a file a second name. EEXIST if that exists: the compare-and-swap of the log. */
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Replaces `to`: never used to publish. */
  rename(from: string, to: string): Promise<void>;
  /** One level; EEXIST if it exists. */
  makeDirectory(path: string): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /** Makes the bytes of a file durable, whoever wrote them. */
  syncFile(path: string): Promise<void>;
  readFile(path: string): Promise<Uint8Array>;
  /** Shorter than `length` only where the file ends. */
  readRange(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** Whether the file is exactly these parts, one after the other. ENOENT when there is none. */
  holds(path: string, parts: readonly Uint8Array[]): Promise<boolean>;
  /** Names, unsorted, without "." and "..". */
  readDirectory(path: string): Promise<string[]>;
  /** A fresh look (opens the file where that refreshes a stale cache); undefined if absent. */
  status(path: string): Promise<FileStatus | undefined>;
  fileSystem(path: string): Promise<FileSystem>;
  /** Lets other work of this thread go first, between the pieces of a long job. */
  pause(): Promise<void>;
}

/** The file, or undefined when there is none. Other errors pass. */
export async function readFileIfAny(ops: FileOps, path: string): Promise<Uint8Array | undefined> {
  try {
    return await ops.readFile(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The names in a directory, sorted; none when there is no such directory. */
export async function readDirectoryIfAny(ops: FileOps, path: string): Promise<string[]> {
  try {
    return (await ops.readDirectory(path)).sort();
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** Removes a name; that it is gone already is fine. */
export async function unlinkIfAny(ops: FileOps, path: string): Promise<void> {
  try {
    await ops.unlink(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

/** Makes a directory and syncs its parent, so that names inside can become durable. */
export async function makeDurableDirectory(
  ops: FileOps,
  path: string,
  parent: string,
): Promise<void> {
  try {
    await ops.makeDirectory(path);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
  // Also when it existed: whoever made it may have died before this sync.
  await ops.syncDirectory(parent);
}

export function isAbsent(error: unknown): boolean {
  return errorCode(error) === "ENOENT";
}

/** No room: nothing was published, and trying again at once is pointless. */
export function isFull(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

/** A handle that the server has forgotten (GPFS quorum loss, NFS restart): open by path again. */
export function isStale(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ESTALE" || code === "EINTR" || code === "EAGAIN";
}

const GONE = new Set(
  "ENOENT ESTALE ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETUNREACH ESHUTDOWN ENODEV ENXIO".split(
    " ",
  ),
);

/** The file system, or the part of it that should be there, cannot be reached: it may come back. */
export function isGone(error: unknown): boolean {
  return GONE.has(errorCode(error));
}

/** An errno of the file system, as opposed to a verdict or a bug of ours that passes through. */
export function isSystemError(error: unknown): boolean {
  return /^E[A-Z0-9]+$/.test(errorCode(error));
}
