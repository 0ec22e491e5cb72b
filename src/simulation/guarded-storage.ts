/**
 * The rank handles what storage answers in handlers of promises. What one of them throws would be
 * an unhandled rejection, which ends a real rank; here it ends the run and says its seed.
 */
import type { LedgerStorage, StorageService } from "../storage/storage-service.ts";

export function guarded(storage: StorageService, fail: (error: unknown) => void): LedgerStorage {
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
  storage.append = (draft) => guard(append(draft));
  storage.child = (slot, prevHash) => guard(child(slot, prevHash));
  return storage;
}
