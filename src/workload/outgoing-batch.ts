/**
 * Transactions on their way into the ledger's queue: encoded once, kept until all are taken. A full
 * queue takes a part; the rest goes later, as the very same bytes.
 */
import type { TransactionBatch } from "../ledger/service.ts";

/** Room for the bytes of a batch: 1000 usual transactions, and little enough to stay cached. */
const ARENA_BYTES = 512 * 1024;

export class OutgoingBatch implements TransactionBatch {
  readonly bytes: Uint8Array;
  readonly spans: Uint32Array;
  readonly tags: Int32Array;
  readonly times: Float64Array;
  readonly statuses: Uint8Array;
  count = 0;
  /** Those before this index have been taken or refused for good. */
  from = 0;
  /** Where the copy of the pool lies. */
  readonly poolAt: number;
  #end = 0;
  readonly #transactionBytesMax: number;

  constructor(options: {
    transactionsMax: number;
    transactionBytesMax: number;
    /** Copied behind the transactions: what they are made from lies in the same array. */
    pool?: Uint8Array | undefined;
  }) {
    this.#transactionBytesMax = options.transactionBytesMax;
    const pool = options.pool ?? new Uint8Array(0);
    this.poolAt = Math.max(ARENA_BYTES, options.transactionBytesMax);
    this.bytes = new Uint8Array(this.poolAt + pool.length);
    this.bytes.set(pool, this.poolAt);
    this.spans = new Uint32Array(2 * options.transactionsMax);
    this.tags = new Int32Array(options.transactionsMax);
    this.times = new Float64Array(options.transactionsMax);
    this.statuses = new Uint8Array(options.transactionsMax);
  }

  /** Whether one more transaction of any size fits. */
  get hasRoom(): boolean {
    return this.count < this.tags.length && this.#end + this.#transactionBytesMax <= this.poolAt;
  }

  get isEmpty(): boolean {
    return this.from === this.count;
  }

  /** Where the next transaction is encoded. */
  get end(): number {
    return this.#end;
  }

  /** Adds the `length` bytes that were encoded at `end`. */
  add(length: number, tag: number, time: number): void {
    this.spans[2 * this.count] = this.#end;
    this.spans[2 * this.count + 1] = length;
    this.tags[this.count] = tag;
    this.times[this.count] = time;
    this.count++;
    this.#end += length;
  }

  clear(): void {
    this.count = 0;
    this.from = 0;
    this.#end = 0;
  }
}
