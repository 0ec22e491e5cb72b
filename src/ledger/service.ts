/**
 * What a rank offers to those above it (gateway, generator). They import this interface, never the
 * rank itself. Batches are bytes in typed arrays: no object per transaction.
 */
import type { Stamp } from "./receipt.ts";

/** What became of a transaction at intake. */
export const SUBMIT = {
  ACCEPTED: 0,
  /** The same transaction is pending here: its receipt will come. */
  DUPLICATE_PENDING: 1,
  /** The queue is full: try later. Nothing was taken. */
  FULL: 2,
  MALFORMED: 3,
  BEYOND_WINDOW: 4,
  WRONG_CHAIN: 5,
  EXPIRED: 6,
  /** Its outcome is known: ask `lookup`. */
  SETTLED: 7,
  STOPPING: 8,
} as const;

export type SubmitStatus = (typeof SUBMIT)[keyof typeof SUBMIT];

export interface TransactionBatch {
  readonly bytes: Uint8Array;
  /** Offset and length of transaction i at 2i and 2i+1. */
  readonly spans: Uint32Array;
  readonly count: number;
  /** The caller's own number of each transaction, handed back with its receipt. */
  readonly tags: Int32Array;
  /** Intended start, ms: performance.timeOrigin + performance.now(). */
  readonly times: Float64Array;
}

export interface ReceiptBatch {
  readonly level: "agreed" | "final";
  readonly count: number;
  readonly tags: Int32Array;
  readonly times: Float64Array;
  /** One byte each (receipt.ts OUTCOME); at level final only. */
  readonly outcomes: Uint8Array;
  /** 32 bytes each. */
  readonly ids: Uint8Array;
}

export interface LedgerService {
  readonly chainId: Uint8Array;
  readonly rank: number;
  readonly ranks: number;
  /** Newest settled round: lastValidRound = lastRound() + horizon. */
  lastRound(): number;
  /** Answers the owner number that `submit` takes. */
  attach(onReceipts: (batch: ReceiptBatch) => void): number;
  /**
   * Takes transactions from `from` on until the queue is full; statuses[i] is a SubmitStatus.
   * Answers the index after the last one treated.
   */
  submit(owner: number, batch: TransactionBatch, from: number, statuses: Uint8Array): number;
  read(key: Uint8Array): Array<{ name: Uint8Array; value: Uint8Array }> | undefined;
  /** Like read, without building anything. */
  has(key: Uint8Array): boolean;
  /** Up to `count` keys from `start` on, in bytewise order. */
  scan(start: Uint8Array, count: number): Uint8Array[];
  balance(account: number): number;
  /** The outcome of a transaction that is still remembered. */
  lookup(sender: number, sequence: number, txnID: Uint8Array): number | undefined;
  stamp(): Stamp;
}
