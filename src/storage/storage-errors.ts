/**
 * The coded errors of storage. Each says what, where, why and what to do. `code` tells a caller
 * how to go on:
 *
 * STORAGE_FULL     nothing was published; free space, then try again
 * STORAGE_IO       nothing was published; another recorder may try
 * STORAGE_UNKNOWN  a name may or may not be durable; look again from another host, or stop
 * STORAGE_DAMAGED  a published file has bytes that nobody wrote; repair it or stop, never truncate
 * STORAGE_VERSION  a file of a format that this program does not know; use the program that does
 * STORAGE_ROLLED_BACK  the log is shorter than a signed head, or a part of the ledger is gone
 */
import { BaashError, EXIT, errorCode } from "../base/errors.ts";

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

export function unknownError(path: string, cause: unknown): BaashError {
  return new BaashError(
    "STORAGE_UNKNOWN",
    `Whether ${path} is durable is unknown (${errorCode(cause)}): it counts as final only once ` +
      "another host has synced it. Check the file system of this host.",
    { data: { path, errno: errorCode(cause) }, exitCode: EXIT.io, cause },
  );
}

export function damagedError(
  path: string,
  byte: number,
  reason: string,
  slot?: number,
): BaashError {
  return new BaashError(
    "STORAGE_DAMAGED",
    `${path} is damaged at byte ${byte}: ${reason}. Restore it from a copy or a peer whose bytes ` +
      "match its child's parent hash; do not delete or truncate it.",
    {
      data: { path, byte, reason, ...(slot !== undefined && { slot }) },
      exitCode: EXIT.io,
    },
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
