/**
 * A rank's storage with an ear on it. What it hands over must be what was written, and a recovery
 * starts at the newest checkpoint. The rank handles answers in handlers of promises: what one of
 * them throws would be an unhandled rejection, which ends a real rank; here it ends the run and says
 * its seed.
 */
import { toHex } from "../base/bytes.ts";
import type { AppendResult } from "../storage/ledger-writer.ts";
import type { LedgerStorage, StorageService } from "../storage/storage-service.ts";
import type { Checkers } from "./checkers.ts";
import type { Ways } from "./ways.ts";

export interface StorageWatch {
  /** Of the process. */
  readonly name: string;
  readonly checkers: Checkers;
  readonly ways: Ways;
  fail(error: unknown): void;
}

export function guarded(storage: StorageService, watch: StorageWatch): LedgerStorage {
  const { name, checkers, ways } = watch;
  const append = storage.append.bind(storage);
  const child = storage.child.bind(storage);
  const fold = storage.fold.bind(storage);
  const recover = storage.recover.bind(storage);
  const counted = async (appended: Promise<AppendResult>) => {
    const result = await appended;
    if (!result.won) ways.took("adoption after EEXIST");
    return result;
  };
  const judged = async (slot: number, prevHash: Uint8Array) => {
    const bytes = await child(slot, prevHash);
    if (bytes !== undefined) checkers.handedOver(name, bytes, { slot, parent: toHex(prevHash) });
    return bytes;
  };
  storage.append = (draft) => guard(counted(append(draft)), watch);
  storage.child = (slot, prevHash) => guard(judged(slot, prevHash), watch);
  storage.fold = async (segment, prevHash) => {
    const folded = await fold(segment, prevHash);
    if (folded) ways.took("segment folded");
    return folded;
  };
  storage.recover = async (onSnapshot, onRecord) => {
    const newest = checkers.oracle.newestCheckpoint();
    let usable = true;
    const result = await recover(
      async (head, payload) => {
        const isUsed = await onSnapshot(head, payload);
        usable &&= isUsed;
        return isUsed;
      },
      (bytes) => {
        checkers.handedOver(name, bytes);
        return onRecord(bytes);
      },
    );
    const isWarned = result.warnings.length > 0 || !usable;
    if (!isWarned) checkers.replayed(name, result.fromSlot, newest);
    return result;
  };
  return storage;
}

function guard<T>(promise: Promise<T>, { fail }: StorageWatch): Promise<T> {
  const original = promise.then.bind(promise);
  const safely = (handler: unknown) =>
    typeof handler !== "function"
      ? handler
      : (value: unknown) => {
          try {
            return handler(value);
          } catch (error) {
            fail(error);
          }
        };
  const then = (onValue: unknown, onError: unknown) =>
    original(safely(onValue) as never, safely(onError) as never);
  // biome-ignore lint/suspicious/noThenProperty: a promise has one; this is where its handlers are seen
  return Object.defineProperty(promise, "then", { value: then });
}
