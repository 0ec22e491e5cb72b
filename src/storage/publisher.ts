/**
 * Publish = link: the one way in which storage gives a file its final name. Used for genesis,
 * records, segments, snapshots and heads. Runs in the writer worker.
 *
 *   write temp (O_EXCL) and sync it → link → sync the directory → look again → unlink the temp
 *
 * Invariants: a temp name is never used twice; no file is synced again after a sync of it failed
 * (the kernel has marked its lost pages clean), it is written anew from memory; a name whose directory
 * could not be synced stays *in doubt*: a second sync from here would prove nothing; "won" is said
 * only after the syncs returned and a fresh look showed the same bytes under the name.
 */
import { assert } from "../base/assert.ts";
import { type BaashError, errorCode } from "../base/errors.ts";
import type { Content, FileOps } from "./file-ops.ts";
import { isAbsent, isFull, isStale, isSystemError } from "./file-ops.ts";
import { tempName } from "./paths.ts";
import { fullError, unknownError, writeError } from "./storage-errors.ts";

/** Writing anew helps against a bad page or a moment's trouble; more is a job for another host. */
const ATTEMPTS_MAX = 3;

export type Seen = "same" | "different" | "absent";

export interface Publication {
  readonly directory: string;
  readonly name: string;
  readonly content: Content;
  /** Compares what has the name with what should; needed where the content is made on the fly. */
  readonly look?: (path: string) => Promise<Seen>;
}

/** A sync that was not tried: the handle or the directory was gone. Another one may tell the truth. */
export function saysNothing(syncError: unknown): boolean {
  return isStale(syncError) || isAbsent(syncError);
}

export type Published =
  /** Durable under its name, with our bytes. */
  | { readonly outcome: "won" }
  /** Somebody else's bytes have the name. */
  | { readonly outcome: "lost" }
  /** Linked perhaps, durable perhaps: nothing may be called final on the strength of it. */
  | { readonly outcome: "unknown"; readonly error: BaashError };

function unknown(path: string, cause: unknown, elsewhere: boolean): Published {
  return { outcome: "unknown", error: unknownError(path, cause, { elsewhere }) };
}

export class Publisher {
  readonly ops: FileOps;
  #incarnation = "";
  #counter = 0;
  /** Names that we linked, or directories that we made, without a sync that told the truth. */
  readonly #doubted = new Map<string, unknown>();

  constructor(ops: FileOps, incarnation: string) {
    this.ops = ops;
    this.become(incarnation);
  }

  get incarnation(): string {
    return this.#incarnation;
  }

  /** Temporary names carry this from now on: who cleans up asks whether it is alive. */
  become(incarnation: string): void {
    assert(/^[0-9a-f]{16}$/.test(incarnation), "an incarnation is 16 hex digits");
    this.#incarnation = incarnation;
  }

  /** Why the sync of a name that this process gave failed; undefined when it did not. */
  doubt(path: string): { readonly cause: unknown } | undefined {
    return this.#doubted.has(path) ? { cause: this.#doubted.get(path) } : undefined;
  }

  doubted(): IterableIterator<string> {
    return this.#doubted.keys();
  }

  noteDoubt(path: string, cause: unknown): void {
    this.#doubted.set(path, cause);
  }

  /** Another host has synced it, or it was given anew. */
  noteKnown(path: string): void {
    this.#doubted.delete(path);
  }

  /** A word that no process ever uses again. */
  unique(): string {
    return `${this.#incarnation}-${this.#counter++}`;
  }

  /**
   * Throws ENOENT when the directory is gone (the caller knows why), STORAGE_FULL, STORAGE_IO or
   * STORAGE_GONE when nothing was published.
   */
  async publish(publication: Publication): Promise<Published> {
    const path = `${publication.directory}/${publication.name}`;
    const look = publication.look ?? ((at) => this.#compare(at, publication.content));
    const doubt = this.doubt(path);
    if (doubt !== undefined) {
      const seen = await this.#lookSafely(look, path, undefined);
      if (seen !== "absent") return unknown(path, doubt.cause, true);
    }
    let lastError: unknown = new Error("no attempt was made");
    let linkedOnce = false;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const temp = `${publication.directory}/${tempName(this.unique())}`;
      try {
        await this.ops.writeExclusive(temp, publication.content);
      } catch (error) {
        await this.#discard(temp);
        if (isFull(error)) throw fullError(path, error);
        if (isAbsent(error) || !isSystemError(error)) throw error;
        lastError = error;
        continue;
      }
      try {
        await this.ops.link(temp, path);
        // A name given anew: the sync below tells the truth about it.
        this.noteKnown(path);
      } catch (error) {
        lastError = error;
        // EEXIST, but also any other error, may hide a success: a retransmitted call. Only the
        // bytes tell. Absent: the temp is discarded, so a call still under way can link no more.
        const seen = await this.#lookSafely(look, path, temp);
        if (seen !== "same") {
          await this.#discard(temp);
          if (seen === "different") return { outcome: "lost" };
          if (seen !== "absent") return unknown(path, seen.error, false);
          if (isFull(error)) throw fullError(path, error);
          continue;
        }
        if (doubt !== undefined) {
          await this.#discard(temp);
          return unknown(path, doubt.cause, true);
        }
      }
      linkedOnce = true;
      const syncError = await this.#syncDirectory(publication.directory);
      const isDoubt = syncError !== undefined && !saysNothing(syncError);
      if (isDoubt) this.noteDoubt(path, syncError);
      const seen =
        syncError === undefined ? await this.#lookSafely(look, path, temp) : { error: syncError };
      await this.#discard(temp);
      if (seen === "same") return { outcome: "won" };
      if (seen === "different") return { outcome: "lost" };
      if (seen !== "absent") return unknown(path, seen.error, isDoubt);
      // Linked, synced and gone: the server restarted and forgot. Publish again from memory.
      lastError = new Error("the link vanished after it was synced");
    }
    if (linkedOnce) return unknown(path, lastError, false);
    throw writeError(path, lastError);
  }

  /** What kept the directory from being synced; undefined when it was. Never tried again here. */
  async #syncDirectory(directory: string): Promise<unknown> {
    try {
      await this.ops.syncDirectory(directory);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  async #lookSafely(
    look: (path: string) => Promise<Seen>,
    path: string,
    temp: string | undefined,
  ): Promise<Seen | { error: unknown }> {
    try {
      return await look(path);
    } catch (error) {
      if (isSystemError(error)) return { error };
      if (temp !== undefined) await this.#discard(temp);
      throw error;
    }
  }

  async #compare(path: string, content: Content): Promise<Seen> {
    assert(typeof content !== "function", "content made on the fly brings its own look");
    try {
      return (await this.ops.holds(path, content)) ? "same" : "different";
    } catch (error) {
      if (isAbsent(error)) return "absent";
      throw error;
    }
  }

  /** A temp that cannot be removed is only litter: the cleaner takes it later. */
  async #discard(temp: string): Promise<void> {
    try {
      await this.ops.unlink(temp);
    } catch (error) {
      assert(errorCode(error) !== "EISDIR", "a temporary name is never a directory");
    }
  }
}
