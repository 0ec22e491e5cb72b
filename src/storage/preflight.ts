/**
 * A look at where a ledger is or is to be, before anything is made for it: keys, directories, a job
 * of many ranks. What it tries out is gone when it returns. The probe and `createLedger` look again,
 * and more closely.
 */
import { dirname } from "node:path";
import { configurationError, errorCode } from "../base/errors.ts";
import { type FileOps, type FileStatus, isAbsent } from "./file-ops.ts";
import { inspectDirectory, notALedgerError, openLedger } from "./ledger-directory.ts";
import { tempName } from "./paths.ts";
import { refuseVolatile } from "./probe.ts";

export interface Place {
  readonly isLedger: boolean;
  /** Genesis of the ledger that is there. */
  readonly genesis: Uint8Array | undefined;
  readonly fileSystem: string;
}

/**
 * Throws a configuration error (exit 78) when `root` is neither a ledger of this version nor a
 * place where one can be made. `unique` names what is tried out: incarnation and counter.
 */
export async function preflight(
  ops: FileOps,
  root: string,
  options: { unique: string; force?: boolean },
): Promise<Place> {
  const existing = await nearestDirectory(ops, root);
  const fileSystem = await ops.fileSystem(existing);
  const kind = existing === root ? await inspectDirectory(ops, root) : "absent";
  if (kind === "foreign") throw notALedgerError(root);
  const genesis = kind === "ledger" ? await openLedger(ops, root) : undefined;
  refuseVolatile(fileSystem, root, options);
  // In a ledger the probe does it, at the start of each rank.
  if (genesis === undefined) {
    await tryDirectory(ops, { root, existing, name: tempName(options.unique) });
  }
  return { isLedger: genesis !== undefined, genesis, fileSystem: fileSystem.type };
}

/** `root` itself or the nearest directory above it that exists. */
async function nearestDirectory(ops: FileOps, root: string): Promise<string> {
  for (let path = root; ; path = dirname(path)) {
    const status = await statusIfAny(ops, path);
    if (status?.kind === "directory") return path;
    if (status === undefined) continue;
    const why = path === root ? "it is a file" : `${path} is a file`;
    throw configurationError(
      "PREFLIGHT_NO_DIRECTORY",
      `${root} cannot be the directory of a ledger: ${why}. Name another one; nothing was changed.`,
      { root, path },
    );
  }
}

async function statusIfAny(ops: FileOps, path: string): Promise<FileStatus | undefined> {
  try {
    return await ops.status(path);
  } catch (error) {
    // Below a file: what is in the way is found further up.
    if (isAbsent(error) || errorCode(error) === "ENOTDIR") return undefined;
    throw unwritable(path, error);
  }
}

/** Permissions do not tell (quotas, read-only mounts, root): only trying does. */
async function tryDirectory(
  ops: FileOps,
  place: { root: string; existing: string; name: string },
): Promise<void> {
  const path = `${place.existing}/${place.name}`;
  try {
    await ops.makeDirectory(path);
    await ops.removeDirectory(path);
  } catch (error) {
    throw unwritable(place.existing, error, place.root);
  }
}

function unwritable(path: string, cause: unknown, root = path) {
  const where = root === path ? `${root} cannot hold a ledger` : `${root} cannot be made`;
  return configurationError(
    "PREFLIGHT_UNWRITABLE",
    `${where}: writing in ${path} failed (${errorCode(cause)}). Check its permissions and its mount, or name another directory.`,
    { root, path, errno: errorCode(cause) },
  );
}
