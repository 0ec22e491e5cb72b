/**
 * Transactions that clients handed in and that are not final yet, by txnID: who sends one again,
 * over whatever connection, joins the one that is pending. Main thread. Bounded by what the
 * rank's queue accepts, since each entry is in it.
 */
import { type LevelName, RECEIPT } from "../ledger/intake-frames.ts";

/** Somebody who wants to hear of a transaction. */
export interface Waiter {
  /** Takes a receipt; `last` when the transaction has no more to tell. */
  tell(waiter: Waiter, receipt: number, detail: number, last: boolean): void;
  readonly request: number;
  readonly index: number;
  readonly level: LevelName;
}

export interface Pending {
  readonly tag: number;
  readonly id: string;
  readonly sender: number;
  readonly sequence: number;
  agreed: boolean;
  waiters: Waiter[];
}

export class PendingTable {
  private readonly byId = new Map<string, Pending>();
  private readonly byTag: (Pending | undefined)[] = [];
  private readonly freeTags: number[] = [];

  get size(): number {
    return this.byId.size;
  }

  find(id: string): Pending | undefined {
    return this.byId.get(id);
  }

  at(tag: number): Pending | undefined {
    return this.byTag[tag];
  }

  add(txn: { id: string; sender: number; sequence: number }): Pending {
    const tag = this.freeTags.pop() ?? this.byTag.length;
    const pending: Pending = { ...txn, tag, agreed: false, waiters: [] };
    this.byTag[tag] = pending;
    this.byId.set(txn.id, pending);
    return pending;
  }

  /** Tells a new waiter at once what is known already. */
  join(pending: Pending, waiter: Waiter): void {
    if (pending.agreed) tellAgreed(waiter);
    if (!pending.agreed || waiter.level !== "agreed") pending.waiters.push(waiter);
  }

  agree(pending: Pending): void {
    if (pending.agreed) return;
    pending.agreed = true;
    const waiters = pending.waiters;
    pending.waiters = waiters.filter(({ level }) => level !== "agreed");
    for (const waiter of waiters) tellAgreed(waiter);
  }

  /** The last word: FINAL, RETRY or REFUSED. */
  settle(pending: Pending, receipt: number, detail: number): void {
    this.byId.delete(pending.id);
    this.byTag[pending.tag] = undefined;
    this.freeTags.push(pending.tag);
    for (const waiter of pending.waiters) waiter.tell(waiter, receipt, detail, true);
  }

  /** Forgets the waiters of a connection that is gone; its transactions go on. */
  drop(isGone: (waiter: Waiter) => boolean): void {
    for (const pending of this.byId.values()) {
      if (pending.waiters.some(isGone)) {
        pending.waiters = pending.waiters.filter((waiter) => !isGone(waiter));
      }
    }
  }
}

function tellAgreed(waiter: Waiter): void {
  const { level } = waiter;
  if (level !== "final") waiter.tell(waiter, RECEIPT.AGREED, 0, level === "agreed");
}
