/**
 * The rank handles what storage answers in handlers of promises. What one of them throws would be
 * an unhandled rejection, which ends a real rank; here it ends the run and says its seed.
 */
import type { AppendResult } from "../storage/ledger-writer.ts";
import type { LedgerStorage, StorageService } from "../storage/storage-service.ts";
import type { Ways } from "./ways.ts";

export function guarded(
  storage: StorageService,
  fail: (error: unknown) => void,
  ways: Ways,
): LedgerStorage {
  const guard = <T>(promise: Promise<T>): Promise<T> => {
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
  };
  const append = storage.append.bind(storage);
  const child = storage.child.bind(storage);
  const fold = storage.fold.bind(storage);
  const counted = async (appended: Promise<AppendResult>) => {
    const result = await appended;
    if (!result.won) ways.took("adoption after EEXIST");
    return result;
  };
  storage.append = (draft) => guard(counted(append(draft)));
  storage.fold = async (segment, prevHash) => {
    const folded = await fold(segment, prevHash);
    if (folded) ways.took("segment folded");
    return folded;
  };
  storage.child = (slot, prevHash) => guard(child(slot, prevHash));
  return storage;
}
