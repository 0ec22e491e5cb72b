/**
 * Whether storage answers, from the ends of the calls to it: writing and reading are told apart, since
 * a full disk still reads. Pure but for the clock. The main thread keeps one over the calls to its
 * writer worker, so that a mount that hangs shows too; the simulator's StorageService keeps its own.
 */
import { BaashError, errorCode } from "../base/errors.ts";
import { reactionTo } from "./storage-errors.ts";

/** A call that has not come back for so long: the disk hangs, or is so slow that it makes no odds. */
const HANG_MS = 10_000;

export interface StorageHealth {
  /** False: records do not become final, or nothing can be read. */
  readonly available: boolean;
  /** For so long it has been as it is, milliseconds. */
  readonly sinceMs: number;
  /** The newest error, also of a time that has passed. */
  readonly lastError?: { readonly code: string; readonly message: string };
}

type Access = "read" | "write";

export interface Call {
  readonly access: Access;
  /** May take minutes: that it does is no sign of a disk that hangs. */
  readonly isLong?: boolean;
}

export class HealthWatch {
  private readonly now: () => number;
  private readonly calls = new Map<number, number>();
  private nextCall = 0;
  private readonly failing = new Set<Access>();
  private changedAt: number;
  private lastError: StorageHealth["lastError"];

  constructor(now: () => number) {
    this.now = now;
    this.changedAt = now();
  }

  /** Follows one call to its end; what it answers or throws passes. */
  async follow<T>({ access, isLong }: Call, call: () => Promise<T>): Promise<T> {
    const number = this.nextCall++;
    if (!isLong) this.calls.set(number, this.now());
    try {
      const result = await call();
      this.ended(number);
      this.change(() => {
        // Who can write can read.
        if (access === "write") this.failing.clear();
        else this.failing.delete("read");
      });
      return result;
    } catch (error) {
      this.ended(number);
      const reaction = reactionTo(error);
      const message = error instanceof BaashError ? error.message : String(error);
      this.lastError = { code: errorCode(error), message };
      // Damage, and what stops a rank, says nothing about other files.
      if (reaction === "wait" || reaction === "withhold") {
        this.change(() => this.failing.add(access));
      }
      throw error;
    }
  }

  health(): StorageHealth {
    const hangs = this.hangsSince();
    const since = hangs !== undefined && this.failing.size === 0 ? hangs : this.changedAt;
    const lastError =
      hangs === undefined
        ? this.lastError
        : { code: "STORAGE_HANGS", message: "A call to the ledger directory does not come back." };
    return {
      available: this.failing.size === 0 && hangs === undefined,
      sinceMs: this.now() - since,
      ...(lastError && { lastError }),
    };
  }

  private hangsSince(): number | undefined {
    for (const startedAt of this.calls.values()) {
      // In the order of their starts.
      return this.now() - startedAt >= HANG_MS ? startedAt : undefined;
    }
    return undefined;
  }

  private ended(number: number): void {
    if (this.hangsSince() !== undefined) this.changedAt = this.now();
    this.calls.delete(number);
  }

  private change(apply: () => void): void {
    const before = this.failing.size === 0;
    apply();
    if (before !== (this.failing.size === 0)) this.changedAt = this.now();
  }
}
