/**
 * Making and opening a ledger directory. Genesis is linked last, so its presence says that the
 * directories exist and are durable, and its absence that nothing was ever recorded. Opening never
 * makes anything: a ledger that lost a part of itself must be noticed, not patched.
 */
import { toHex } from "../base/bytes.ts";
import { configurationError, errorCode } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { type FileOps, makeDurableDirectory, readDirectoryIfAny } from "./file-ops.ts";
import { LEDGER_FORMAT, LEDGER_VERSION } from "./format.ts";
import {
  GENESIS_NAME,
  LEDGER_DIRECTORIES,
  LedgerPaths,
  parseTempName,
  RESERVE_DIRECTORY,
} from "./paths.ts";
import { type ProbeOptions, probe } from "./probe.ts";
import type { Publisher } from "./publisher.ts";
import { damagedError, rolledBackError, versionError } from "./storage-errors.ts";

export type DirectoryKind =
  | "absent"
  | "empty"
  /** Our own empty directories without genesis: somebody makes it now, or died making it. */
  | "unfinished"
  | "ledger"
  | "foreign";

const KNOWN_NAMES: ReadonlySet<string> = new Set([...LEDGER_DIRECTORIES, RESERVE_DIRECTORY]);

/** What is at `root`; creates nothing. */
export async function inspectDirectory(ops: FileOps, root: string): Promise<DirectoryKind> {
  const status = await ops.status(root);
  if (status === undefined) return "absent";
  if (status.kind !== "directory") return "foreign";
  const names = await ops.readDirectory(root);
  if (names.includes(GENESIS_NAME)) return "ledger";
  if (names.length === 0) return "empty";
  for (const name of names) {
    if (parseTempName(name) !== undefined) continue;
    if (!KNOWN_NAMES.has(name)) return "foreign";
  }
  for (const name of names) {
    const inside = await readDirectoryIfAny(ops, `${root}/${name}`).catch(() => []);
    if (inside.some((entry) => parseTempName(entry) === undefined)) {
      throw rolledBackError(root, `genesis is missing, but ${name}/ is not empty`);
    }
  }
  return "unfinished";
}

/**
 * Makes a ledger with these genesis bytes, or opens the one that is there: of several processes
 * that do so at once exactly one creates. The caller checks that the bytes returned are its own
 * kind of ledger. Throws NOT_A_LEDGER (78) on a foreign directory, having created nothing.
 */
export async function createLedger(
  publisher: Publisher,
  root: string,
  genesis: Uint8Array,
  options: ProbeOptions = {},
): Promise<{ created: boolean; genesis: Uint8Array }> {
  const { ops } = publisher;
  const paths = new LedgerPaths(root);
  const kind = await inspectDirectory(ops, root);
  if (kind === "foreign") throw notALedgerError(root);
  if (kind === "ledger") return { created: false, genesis: await openLedger(ops, root) };
  if (kind === "absent") await makeDirectories(ops, root);
  else await syncParent(ops, root);
  await probe(publisher, root, options);
  for (const name of LEDGER_DIRECTORIES) {
    await makeDurableDirectory(ops, paths.directory(name), root);
  }
  const published = await publisher.publish({
    directory: root,
    name: GENESIS_NAME,
    content: [genesis],
  });
  if (published.outcome === "unknown") throw published.error;
  if (published.outcome === "won") return { created: true, genesis };
  await adoptLedger(ops, root);
  return { created: false, genesis: await openLedger(ops, root) };
}

/**
 * Makes durable what somebody else made: they may have died, or met an error, between a link and
 * its sync, and nothing may be built on a ledger that a loss of power takes away.
 */
export async function adoptLedger(ops: FileOps, root: string): Promise<void> {
  await ops.syncFile(new LedgerPaths(root).genesis);
  await ops.syncDirectory(root);
  await syncParent(ops, root);
}

/** What says that a parent is not ours to sync: no right to, read-only, an automounter's own. */
const NOT_OURS = new Set(["EACCES", "EPERM", "EROFS", "EINVAL"]);

/** Whoever made the ledger's directory there answers for it then. */
async function syncParent(ops: FileOps, root: string): Promise<void> {
  try {
    await ops.syncDirectory(parentOf(root));
  } catch (error) {
    if (!NOT_OURS.has(errorCode(error))) throw error;
  }
}

/** The genesis bytes of an existing ledger, after a look at its format, checksum and parts. */
export async function openLedger(ops: FileOps, root: string): Promise<Uint8Array> {
  const kind = await inspectDirectory(ops, root);
  if (kind === "foreign") throw notALedgerError(root);
  if (kind !== "ledger") {
    throw configurationError(
      "NO_LEDGER",
      `There is no ledger at ${root}. Make one with \`baash init\`, or check the path.`,
      { root, kind },
    );
  }
  const paths = new LedgerPaths(root);
  const genesis = await ops.readFile(paths.genesis);
  checkGenesisFile(genesis, paths.genesis);
  const names = await ops.readDirectory(root);
  for (const name of LEDGER_DIRECTORIES) {
    if (!names.includes(name)) throw rolledBackError(root, `${name}/ is missing`);
  }
  return genesis;
}

/** Format, version and checksum; what the fields mean and the signature are ledger/genesis's. */
export function checkGenesisFile(bytes: Uint8Array, path: string): void {
  const text = new TextDecoder().decode(bytes);
  const end = text.indexOf("\nsha256 ") + 1;
  if (end === 0) throw damagedError(path, bytes.length, "its checksum line is missing");
  const json = text.slice(0, end);
  const digest = toHex(sha256(new TextEncoder().encode(json)));
  if (!text.startsWith(`sha256 ${digest}\n`, end)) {
    throw damagedError(path, 0, "it does not match its checksum");
  }
  let fields: { format?: unknown; version?: unknown };
  try {
    fields = JSON.parse(json);
  } catch {
    throw damagedError(path, 0, "it is not JSON");
  }
  if (fields.format !== LEDGER_FORMAT) throw versionError(path, fields.format, LEDGER_VERSION);
  if (fields.version !== LEDGER_VERSION) throw versionError(path, fields.version, LEDGER_VERSION);
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || (path.startsWith("/") ? "/" : ".");
}

async function makeDirectories(ops: FileOps, path: string): Promise<void> {
  const parent = parentOf(path);
  if ((await ops.status(parent)) === undefined) await makeDirectories(ops, parent);
  await makeDurableDirectory(ops, path, parent);
}

export function notALedgerError(root: string) {
  return configurationError(
    "NOT_A_LEDGER",
    `${root} is not a ledger and not empty. Name an empty or new directory; nothing was changed.`,
    { root },
  );
}
