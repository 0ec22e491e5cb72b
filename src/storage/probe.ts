/**
 * The start-up probe: does this file system keep the promises that `final` rests on? It refuses
 * one that does not, with a sentence that says what to do, and leaves nothing behind (its files
 * have temporary names, so that even a crash leaves only what the cleaner takes).
 */
import { assert } from "../base/assert.ts";
import { type BaashError, configurationError, errorCode } from "../base/errors.ts";
import {
  type FileOps,
  type FileSystem,
  isFull,
  isGone,
  readFileIfAny,
  unlinkIfAny,
} from "./file-ops.ts";
import { tempName } from "./paths.ts";
import type { Publisher } from "./publisher.ts";
import { writeError } from "./storage-errors.ts";

/** They forget everything when the host goes down. */
const VOLATILE = new Set(["tmpfs", "ramfs"]);

export interface ProbeOptions {
  /** Accept a file system that forgets (for trials and tests). */
  readonly force?: boolean;
}

/**
 * Throws a configuration error (exit 78) when `directory` cannot hold a ledger, and STORAGE_FULL,
 * STORAGE_IO or STORAGE_GONE (exit 74) where it may be able to another time.
 */
export async function probe(
  publisher: Publisher,
  directory: string,
  options: ProbeOptions = {},
): Promise<FileSystem> {
  const { ops } = publisher;
  const status = await ops.status(directory);
  if (status === undefined) throw refusal("ABSENT", directory, "does not exist", "Create it");
  if (status.kind !== "directory") {
    throw refusal("NOT_A_DIRECTORY", directory, "is not a directory", "Name a directory");
  }
  const fileSystem = await ops.fileSystem(directory);
  refuseVolatile(fileSystem, directory, options);
  const first = `${directory}/${tempName(publisher.unique())}`;
  const second = `${directory}/${tempName(publisher.unique())}`;
  try {
    await tryOut(ops, directory, first, second);
  } finally {
    await removeQuietly(ops, first);
    await removeQuietly(ops, second);
  }
  return fileSystem;
}

export function isVolatile(fileSystem: FileSystem): boolean {
  return VOLATILE.has(fileSystem.type);
}

/** Throws PROBE_VOLATILE (exit 78) unless forced. */
export function refuseVolatile(
  fileSystem: FileSystem,
  directory: string,
  options: ProbeOptions,
): void {
  if (!isVolatile(fileSystem) || options.force) return;
  throw refusal(
    "VOLATILE",
    directory,
    `is on ${fileSystem.type}, which forgets everything when the host stops`,
    "Use the parallel file system, or --force for a trial",
  );
}

async function tryOut(
  ops: FileOps,
  directory: string,
  first: string,
  second: string,
): Promise<void> {
  const content = [new TextEncoder().encode(`baash probe ${first}\n`)];
  await must(ops.writeExclusive(first, content), directory, "files can be written and synced");
  await mustExist(ops.writeExclusive(first, content), directory, "O_EXCL is exclusive");
  await must(ops.link(first, second), directory, "hard links work");
  await mustExist(ops.link(first, second), directory, "link is exclusive");
  await must(ops.syncDirectory(directory), directory, "directories can be synced");
  const seen = await ops.holds(second, content).catch(() => false);
  const names = await ops.readDirectory(directory);
  const name = second.slice(directory.length + 1);
  if (!seen || !names.includes(name)) {
    throw broken(directory, "a second look shows what was linked", "it does not");
  }
}

/** A mark that another host looks for: does it see what this one has linked? */
export async function leaveMark(publisher: Publisher, directory: string): Promise<string> {
  const name = tempName(publisher.unique());
  await publisher.ops.writeExclusive(`${directory}/${name}`, [new TextEncoder().encode(name)]);
  await publisher.ops.syncDirectory(directory);
  return name;
}

/** On the other host. Throws a configuration error when the mark of the first is not there. */
export async function lookForMark(ops: FileOps, directory: string, name: string): Promise<void> {
  const bytes = await readFileIfAny(ops, `${directory}/${name}`);
  if (bytes !== undefined && new TextDecoder().decode(bytes) === name) return;
  throw refusal(
    "NOT_SHARED",
    directory,
    "does not show on this host what another rank has written there",
    "Use one parallel file system, mounted alike on every host (NFS: lookupcache=positive)",
  );
}

export async function removeMark(ops: FileOps, directory: string, name: string): Promise<void> {
  await unlinkIfAny(ops, `${directory}/${name}`);
}

async function must(call: Promise<void>, directory: string, promise: string): Promise<void> {
  try {
    await call;
  } catch (error) {
    const code = errorCode(error);
    if (code === "EROFS" || code === "EACCES" || code === "EPERM") {
      const what = `cannot be written (${code})`;
      throw refusal("READ_ONLY", directory, what, "Check its mount and its permissions");
    }
    if (code === "EIO" || isFull(error) || isGone(error)) throw writeError(directory, error);
    throw broken(directory, promise, code);
  }
}

async function mustExist(call: Promise<void>, directory: string, promise: string): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return;
    throw broken(directory, promise, errorCode(error));
  }
  throw broken(directory, promise, "the second call succeeded");
}

async function removeQuietly(ops: FileOps, path: string): Promise<void> {
  try {
    await ops.unlink(path);
  } catch (error) {
    assert(errorCode(error) !== "EISDIR", "the probe makes files only");
  }
}

function broken(directory: string, promise: string, found: string): BaashError {
  return refusal(
    "BROKEN_PROMISE",
    directory,
    `is on a file system that does not promise that ${promise} (${found})`,
    "Nothing could be final there: use another file system",
  );
}

function refusal(code: string, directory: string, what: string, todo: string): BaashError {
  return configurationError(`PROBE_${code}`, `${directory} ${what}. ${todo}.`, { directory });
}
