/**
 * Blocks in shared memory, keyed by block hash: one queue for outgoing blocks (transaction-workers
 * mine them into it, the main thread sends them) and one for incoming blocks (the main thread
 * copies them in, block-workers check them where they lie).
 *
 * Payload of an element: the block message, then at the next multiple of 8 the txnIDs, 32 bytes
 * each, written by who hashed them. User words: 0 rank, 1 round (its low 31 bits) or, outgoing, the
 * number of transactions, 2 bytes of the message (written by reserve), 3 verdict. Times of outgoing
 * blocks: head and tail of the chain of their transactions.
 */
import { BLOCK_BYTES_MAX, BLOCK_TXNS_MAX } from "../limits.ts";
import { type Chain, type FifoCounters, KeyedFifo } from "./keyed-fifo.ts";

/** To be sent (outgoing) or checked (incoming). */
export const PENDING = 0;
/** Sent, or checked: word 3 says how it went. */
export const DONE = 1;
export const OUTGOING_PENDING = PENDING;
export const INCOMING_PENDING = PENDING;
const LISTS = 2;

const TXN_ID_BYTES = 32;
const RANK = 0;
const ROUND = 1;
const MESSAGE_BYTES = 2;
const VERDICT = 3;

/** From the start of the message to the txnIDs behind it. */
const idsStart = (messageBytes: number) => (messageBytes + 7) & ~7;

const PAYLOAD_BYTES_MAX = idsStart(BLOCK_BYTES_MAX) + TXN_ID_BYTES * BLOCK_TXNS_MAX;

export class BlockQueue {
  readonly fifo: KeyedFifo;
  readonly shared: SharedArrayBuffer;

  static create(o: { slots: number; arenaBytes: number; payloadBytesMax?: number }) {
    const payloadBytesMax = o.payloadBytesMax ?? Math.min(PAYLOAD_BYTES_MAX, o.arenaBytes);
    return new BlockQueue(KeyedFifo.create({ ...o, payloadBytesMax, lists: LISTS }));
  }

  static attach(shared: SharedArrayBuffer): BlockQueue {
    return new BlockQueue(KeyedFifo.attach(shared));
  }

  private constructor(fifo: KeyedFifo) {
    this.fifo = fifo;
    this.shared = fifo.shared;
  }

  /** A slot with room for a message and its txnIDs, to be written in place; or FULL, TOO_LARGE, CLOSED. */
  reserve(messageBytes: number, txnCount: number): number {
    const slot = this.fifo.tryReserve(idsStart(messageBytes) + TXN_ID_BYTES * txnCount);
    if (slot >= 0) this.fifo.words[4 * slot + MESSAGE_BYTES] = messageBytes;
    return slot;
  }

  /** Puts a written block into PENDING under its hash; the slot, or DUPLICATE or CLOSED. */
  commit(slot: number, hashes: Uint8Array, hashOffset: number): number {
    return this.fifo.commit(slot, PENDING, hashes, hashOffset);
  }

  messageOffset(slot: number): number {
    return this.fifo.payloadOffset(slot);
  }

  messageLength(slot: number): number {
    return this.fifo.words[4 * slot + MESSAGE_BYTES];
  }

  /** Where the txnIDs of the block lie in fifo.bytes: a multiple of 8. */
  idsOffset(slot: number): number {
    return this.messageOffset(slot) + idsStart(this.messageLength(slot));
  }

  /** How many txnIDs the slot has room for: what was reserved. */
  idCount(slot: number): number {
    const behind = this.fifo.payloadLength(slot) - idsStart(this.messageLength(slot));
    return behind / TXN_ID_BYTES;
  }

  rank(slot: number): number {
    return this.fifo.words[4 * slot + RANK];
  }

  roundLow31(slot: number): number {
    return this.fifo.words[4 * slot + ROUND];
  }

  verdict(slot: number): number {
    return this.fifo.words[4 * slot + VERDICT];
  }

  setOrigin(slot: number, origin: { rank: number; round: number }): void {
    this.fifo.words[4 * slot + RANK] = origin.rank;
    this.fifo.words[4 * slot + ROUND] = origin.round % 0x8000_0000;
  }

  setVerdict(slot: number, verdict: number): void {
    this.fifo.words[4 * slot + VERDICT] = verdict;
  }

  /** How many are to be sent or checked. */
  pending(): number {
    return this.fifo.count(PENDING);
  }

  /** The first `max` blocks that are to be sent or checked: the caller's now. */
  takePending(max: number): Chain {
    return this.fifo.split(PENDING, max);
  }

  /** They were sent or checked. */
  done(chain: Chain): void {
    this.fifo.join(DONE, chain);
  }

  takeDone(max: number): Chain {
    return this.fifo.split(DONE, max);
  }

  /** Frees blocks that the caller took. */
  free(chain: Chain): void {
    this.fifo.free(chain);
  }

  /** The slot of a block, wherever it is; NONE when it is not here. */
  byHash(hashes: Uint8Array, hashOffset: number): number {
    return this.fifo.find(hashes, hashOffset);
  }

  /** Parks a worker until `list` (PENDING or DONE) has blocks (true), it is closed, or timeout. */
  wait(list: number, timeoutMs: number): boolean {
    return this.fifo.wait(list, timeoutMs);
  }

  waitAsync(list: number, timeoutMs: number): Promise<boolean> {
    return this.fifo.waitAsync(list, timeoutMs);
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
