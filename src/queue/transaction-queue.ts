/**
 * The transactions that a rank accepted and that are not settled yet, keyed by txnID. The intake
 * (main thread or gateway) pushes; transaction-workers take what goes into a block; the main
 * thread settles it once the block is, or puts it back when the block was lost.
 *
 * WAITING holds what is in no block. What a block took is a chain, kept with that block; byId
 * finds it there too, so that a transaction that is sent again meets the one that is under way.
 * User words of an element: 0 owner, 1 tag (both of the submitter), 2 place of its last valid round
 * (rank/last-rounds.ts). Times: 0 intended start in ms.
 */
import { TXN_BYTES_MAX } from "../limits.ts";
import { type Chain, type FifoCounters, KeyedFifo, type PushBatch } from "./keyed-fifo.ts";

/** The user word that holds the place of its last valid round. */
export const LAST_ROUND = 2;
/** In no block. */
export const WAITING = 0;
/** The waiting queue of the paper: blocks were lost, their transactions go again after a pause. */
export const RETRY = 1;
const LISTS = 2;

export class TransactionQueue {
  readonly fifo: KeyedFifo;
  readonly shared: SharedArrayBuffer;

  static create(o: { slots: number; arenaBytes: number; payloadBytesMax?: number }) {
    const payloadBytesMax = o.payloadBytesMax ?? Math.min(TXN_BYTES_MAX, o.arenaBytes);
    return new TransactionQueue(KeyedFifo.create({ ...o, payloadBytesMax, lists: LISTS }));
  }

  static attach(shared: SharedArrayBuffer): TransactionQueue {
    return new TransactionQueue(KeyedFifo.attach(shared));
  }

  private constructor(fifo: KeyedFifo) {
    this.fifo = fifo;
    this.shared = fifo.shared;
  }

  /** Queues transactions from batch.from on until it is full; see KeyedFifo.tryPushMany. */
  accept(batch: PushBatch): number {
    return this.fifo.tryPushMany(WAITING, batch);
  }

  /** How many wait to be put into a block. */
  waiting(): number {
    return this.fifo.count(WAITING);
  }

  /** The oldest `max` that wait, in order of acceptance: they belong to the caller's block now. */
  take(max: number): Chain {
    return this.fifo.split(WAITING, max);
  }

  /** The block was lost: its transactions are the next ones again. */
  putBack(chain: Chain): void {
    this.fifo.joinFront(WAITING, chain);
  }

  /** The block was lost and its round is final without it: wait before they are tried again. */
  retryLater(chain: Chain): void {
    this.fifo.joinFront(RETRY, chain);
  }

  /** How many wait for their next try. */
  retrying(): number {
    return this.fifo.count(RETRY);
  }

  /** The pause is over: they are the next ones. */
  retryNow(): void {
    this.fifo.joinFront(WAITING, this.fifo.split(RETRY, this.fifo.count(RETRY)));
  }

  /** The block is settled: frees its transactions. */
  settle(chain: Chain): void {
    this.fifo.free(chain);
  }

  /** Another rank's block settled this one: true if it waited here and was freed. */
  settleWaiting(ids: Uint8Array, idOffset: number): boolean {
    return this.fifo.tryRemove(ids, idOffset);
  }

  /** Time 0 of the transaction that waits longest; NaN when none does. */
  oldestTime(): number {
    return this.fifo.headTime(WAITING);
  }

  /** The slot of a transaction, waiting or in a block; NONE when it is not here. */
  byId(ids: Uint8Array, idOffset: number): number {
    return this.fifo.find(ids, idOffset);
  }

  /** Parks a worker until something waits (true), the queue is closed, or timeout. */
  wait(timeoutMs: number): boolean {
    return this.fifo.wait(WAITING, timeoutMs);
  }

  waitAsync(timeoutMs: number): Promise<boolean> {
    return this.fifo.waitAsync(WAITING, timeoutMs);
  }

  close(): void {
    this.fifo.close();
  }

  closed(): boolean {
    return this.fifo.closed();
  }

  counters(): FifoCounters {
    return this.fifo.counters();
  }
}
