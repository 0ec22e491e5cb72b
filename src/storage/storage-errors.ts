/**
 * The coded errors of storage. Each says what, where, why and what to do. `code` tells a caller
 * how to go on (README.md, "What a caller may do"); `reactionTo` says it in one word.
 *
 * STORAGE_FULL     nothing was published; free space, then try again
 * STORAGE_IO       nothing was published, or a read failed; another recorder may try
 * STORAGE_GONE     the directory cannot be reached; nothing was published
 * STORAGE_UNKNOWN  a name may or may not be durable; `data.elsewhere`: only another host can tell
 * STORAGE_DAMAGED  a published file has bytes that nobody wrote; repair it or stop, never truncate
 * STORAGE_VERSION  a file of a format that this program does not know; use the program that does
 * STORAGE_ROLLED_BACK  the log is shorter than what is known of it, or a part of the ledger is gone
 * STORAGE_KEPT_ENOUGH  of evidence and dead letters: this process has kept as many as it may
 */
import { toHex } from "../base/bytes.ts";
import { BaashError, EXIT, errorCode } from "../base/errors.ts";
import { isFull, isGone } from "./file-ops.ts";

/** What whoever met an error of storage does next. */
export type Reaction =
  /** Nothing is linked: try again later; others may try meanwhile. */
  | "wait"
  /**
   * Something is linked that only another host can make final: announce nothing. Trying again is
   * safe, and says the same until it is known. Where there is no other host, stop.
   */
  | "withhold"
  /** Ask for a copy of the record and have it put back; stop when nobody has one. */
  | "repair"
  /** The ledger goes on without that file. */
  | "drop"
  /** Nothing that this process knows can be trusted, or it must not go on: end it. */
  | "stop";

const REACTIONS: Readonly<Record<string, Reaction>> = {
  STORAGE_FULL: "wait",
  STORAGE_IO: "wait",
  STORAGE_GONE: "wait",
  STORAGE_UNKNOWN: "withhold",
  STORAGE_DAMAGED: "repair",
  STORAGE_KEPT_ENOUGH: "drop",
  // What a storage validator says no to: it judged bytes of this rank, and linked nothing.
  ...{ RECORD_REFUSED: "wait", NOT_CERTIFIED: "wait", CONVICTED: "wait", INTERNAL: "wait" },
  TOO_MANY_NEWCOMERS: "wait",
};

/** A code that is not known here, a broken assertion among them, stops. */
export function reactionTo(error: unknown): Reaction {
  const reaction = REACTIONS[errorCode(error)] ?? "stop";
  const settlesHere = error instanceof BaashError && error.data.elsewhere === false;
  return reaction === "withhold" && settlesHere ? "wait" : reaction;
}

export function fullError(path: string, cause: unknown): BaashError {
  return new BaashError(
    "STORAGE_FULL",
    `No room to write ${path} (${errorCode(cause)}): nothing was published. ` +
      "Free space or inodes, or raise the quota; the ledger goes on by itself.",
    { data: { path, errno: errorCode(cause) }, exitCode: EXIT.io, cause },
  );
}

export function ioError(path: string, cause: unknown): BaashError {
  return new BaashError(
    "STORAGE_IO",
    `Writing ${path} failed (${errorCode(cause)}): nothing was published. ` +
      "Check the file system; another rank may record meanwhile.",
    { data: { path, errno: errorCode(cause) }, exitCode: EXIT.io, cause },
  );
}

/** `cause` is an errno, or a sentence's reason in its message. */
export function goneError(path: string, cause: unknown): BaashError {
  const why = errorCode(cause) === "UNKNOWN" ? (cause as Error).message : errorCode(cause);
  return new BaashError(
    "STORAGE_GONE",
    `${path} cannot be reached (${why}): nothing was published. Is the file system mounted on ` +
      "this host? The ledger goes on by itself when it is back.",
    { data: { path, errno: errorCode(cause) }, exitCode: EXIT.io, cause },
  );
}

/** Nothing was published because of `cause`: the code that fits its errno. */
export function writeError(path: string, cause: unknown): BaashError {
  if (isFull(cause)) return fullError(path, cause);
  return isGone(cause) ? goneError(path, cause) : ioError(path, cause);
}

export function readError(path: string, cause: unknown): BaashError {
  if (isGone(cause)) return goneError(path, cause);
  return new BaashError(
    "STORAGE_IO",
    `Reading ${path} failed (${errorCode(cause)}). Check the file system; it is tried again.`,
    { data: { path, errno: errorCode(cause) }, exitCode: EXIT.io, cause },
  );
}

/**
 * `slot`: of the record that the name is for. `elsewhere`: a sync failed, and no sync of this process
 * can make that good; otherwise the next attempt tells what happened.
 */
export function unknownError(
  path: string,
  cause: unknown,
  about: { readonly slot?: number; readonly elsewhere: boolean },
): BaashError {
  const why = errorCode(cause) === "UNKNOWN" ? (cause as Error).message : errorCode(cause);
  const settled = about.elsewhere
    ? "it counts as final only once another host has synced it"
    : "it is looked at again";
  return new BaashError(
    "STORAGE_UNKNOWN",
    `Whether ${path} is durable is unknown (${why}): ${settled}. ` +
      "Check the file system of this host.",
    { data: { path, errno: errorCode(cause), ...about }, exitCode: EXIT.io, cause },
  );
}

export interface DamagedPlace {
  readonly slot: number;
  readonly prevHash?: Uint8Array;
  /** What the record's hash must be, where that is known. */
  readonly hash?: Uint8Array;
}

/** Its `data` is {path, byte, reason} and, of a record, {slot, prevHash?, hash?} with hex digits. */
export function damagedError(
  path: string,
  byte: number,
  reason: string,
  place?: DamagedPlace,
): BaashError {
  const record = place && {
    slot: place.slot,
    ...(place.prevHash && { prevHash: toHex(place.prevHash) }),
    ...(place.hash && { hash: toHex(place.hash) }),
  };
  return new BaashError(
    "STORAGE_DAMAGED",
    `${path} is damaged at byte ${byte}: ${reason}. Restore it from a copy or a peer whose bytes ` +
      "match its child's parent hash; do not delete or truncate it.",
    { data: { path, byte, reason, ...record }, exitCode: EXIT.io },
  );
}

export function rolledBackError(path: string, reason: string): BaashError {
  return new BaashError(
    "STORAGE_ROLLED_BACK",
    `The ledger at ${path} has lost a part of itself: ${reason}. It was wiped or restored from an ` +
      "older copy; bring back the missing files, or start a new ledger in another directory.",
    { data: { path, reason }, exitCode: EXIT.configuration },
  );
}

export function versionError(path: string, found: unknown, known: number): BaashError {
  return new BaashError(
    "STORAGE_VERSION",
    `${path} has format version ${found}; this program knows version ${known}. ` +
      "Use the version of baash that wrote it.",
    { data: { path, found, known }, exitCode: EXIT.configuration },
  );
}
