/**
 * Intake of a rank: the LedgerService that the generator and the gateway see. Checks each
 * transaction, computes the txnIDs of a batch at once and queues them in shared memory. Full means
 * a refusal that the caller sees, never a loss. Main thread.
 */
import { kernels } from "../base/kernels.ts";
import type { Chain } from "../ledger/chain.ts";
import { OUTCOME } from "../ledger/receipt.ts";
import {
  type LedgerService,
  type ReceiptBatch,
  SUBMIT,
  type TransactionBatch,
} from "../ledger/service.ts";
import { lastValidRoundOf, senderOf, sequenceOf } from "../ledger/transaction.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { DUPLICATE, FULL } from "../queue/keyed-fifo.ts";
import { LAST_ROUND, type TransactionQueue } from "../queue/transaction-queue.ts";
import type { LastRounds } from "./last-rounds.ts";

export interface IntakeCounters {
  accepted: number;
  refusedFull: number;
  duplicates: number;
  settled: number;
  malformed: number;
}

export class Intake implements LedgerService {
  readonly chainId: Uint8Array;
  readonly rank: number;
  readonly ranks: number;
  readonly counters: IntakeCounters = {
    accepted: 0,
    refusedFull: 0,
    duplicates: 0,
    settled: 0,
    malformed: 0,
  };
  stopping = false;
  /** Owner of transactions that were adopted from ranks that are gone; -1: nobody. */
  orphans = -1;
  private readonly chain: Chain;
  private readonly queue: TransactionQueue;
  private readonly lastRounds: LastRounds;
  private readonly onAccepted: () => void;
  private readonly propagate: ((accepted: readonly Uint8Array[]) => void) | undefined;
  private readonly listeners: ((batch: ReceiptBatch) => void)[] = [];
  // Scratch of one batch: what passed the checks, in order.
  private ids = new Uint8Array(32 * 1024);
  private spans = new Uint32Array(2 * 1024);
  private places = new Int32Array(1024);
  private tags = new Int32Array(1024);
  private times = new Float64Array(1024);
  private slots = new Int32Array(1024);
  /** Of the whole batch. */
  private verdicts = new Uint8Array(1024);

  constructor(options: {
    chain: Chain;
    rank: number;
    ranks: number;
    queue: TransactionQueue;
    lastRounds: LastRounds;
    onAccepted: () => void;
    /** Wants copies of what was accepted, for backup ranks. */
    propagate?: ((accepted: readonly Uint8Array[]) => void) | undefined;
  }) {
    this.chain = options.chain;
    this.chainId = options.chain.chainId;
    this.rank = options.rank;
    this.ranks = options.ranks;
    this.queue = options.queue;
    this.lastRounds = options.lastRounds;
    this.onAccepted = options.onAccepted;
    this.propagate = options.propagate;
  }

  lastRound(): number {
    return this.chain.settledRound;
  }

  attach(onReceipts: (batch: ReceiptBatch) => void): number {
    return this.listeners.push(onReceipts) - 1;
  }

  /** Hands receipts to the owner of these transactions. */
  deliver(owner: number, batch: ReceiptBatch): void {
    this.listeners[owner]?.(batch);
  }

  submit(owner: number, batch: TransactionBatch, from: number, statuses: Uint8Array): number {
    this.reserveScratch(batch.count);
    const { bytes, count } = batch;
    kernels.checkTransactions(bytes, batch.spans, from, count, this.chainId, this.verdicts);
    let passed = 0;
    for (let i = from; i < count; i++) {
      const status = this.check(
        bytes,
        batch.spans[2 * i],
        batch.spans[2 * i + 1],
        this.verdicts[i],
      );
      statuses[i] = status;
      if (status !== SUBMIT.ACCEPTED) continue;
      this.spans[2 * passed] = batch.spans[2 * i];
      this.spans[2 * passed + 1] = batch.spans[2 * i + 1];
      this.tags[passed] = batch.tags[i];
      this.times[passed] = batch.times[i];
      this.places[passed++] = i;
    }
    kernels.leafHashes(batch.bytes, this.spans, passed, this.ids, 0);
    const end = this.push(owner, batch, passed, statuses);
    if (this.propagate !== undefined) this.propagate(this.acceptedOf(batch, end));
    if (end > 0) this.onAccepted();
    if (end < passed) {
      this.counters.refusedFull++;
      for (let k = end; k < passed; k++) statuses[this.places[k]] = SUBMIT.FULL;
      return this.places[end];
    }
    return batch.count;
  }

  /** Copies of the first `end` that were queued just now. */
  private acceptedOf({ bytes }: TransactionBatch, end: number): Uint8Array[] {
    const accepted: Uint8Array[] = [];
    for (let k = 0; k < end; k++) {
      const offset = this.spans[2 * k];
      if (this.slots[k] >= 0) accepted.push(bytes.slice(offset, offset + this.spans[2 * k + 1]));
    }
    return accepted;
  }

  /** Structure, chain and validity window; what depends on state is left to execution. */
  private check(bytes: Uint8Array, offset: number, length: number, verdict: number): number {
    if (this.stopping) return SUBMIT.STOPPING;
    if (verdict !== VERDICT.OK) {
      this.counters.malformed++;
      return verdict === VERDICT.WRONG_CHAIN ? SUBMIT.WRONG_CHAIN : SUBMIT.MALFORMED;
    }
    const lastValid = lastValidRoundOf(bytes, offset);
    const settled = this.chain.settledRound;
    if (lastValid > settled + VALIDITY_ROUNDS_MAX) return SUBMIT.BEYOND_WINDOW;
    if (lastValid <= settled) return this.expired(bytes, offset, length);
    return SUBMIT.ACCEPTED;
  }

  /** Past its last round a transaction may still be remembered as executed. */
  private expired(bytes: Uint8Array, offset: number, length: number): number {
    const id = new Uint8Array(32);
    kernels.leafHashes(bytes, Uint32Array.of(offset, length), 1, id, 0);
    const outcome = this.lookup(senderOf(bytes, offset), sequenceOf(bytes, offset), id);
    return outcome === undefined ? SUBMIT.EXPIRED : SUBMIT.SETTLED;
  }

  private push(
    owner: number,
    batch: TransactionBatch,
    passed: number,
    statuses: Uint8Array,
  ): number {
    const { ids, spans, slots, tags, times } = this;
    const payload = batch.bytes;
    let from = 0;
    while (from < passed) {
      // A resent transaction that is executed already must not take effect in the queue again.
      const end = this.skipSettled(payload, from, passed);
      if (end > from) {
        const pushed = this.queue.accept({
          ids,
          payload,
          spans,
          from,
          count: end,
          slots,
          owner,
          tags,
          times,
        });
        for (let k = from; k < pushed; k++) {
          if (slots[k] >= 0) this.accepted(slots[k], lastValidRoundOf(payload, spans[2 * k]));
          else if (slots[k] === DUPLICATE) {
            this.counters.duplicates++;
            if (!this.takeOver(owner, k)) statuses[this.places[k]] = SUBMIT.DUPLICATE_PENDING;
          } else if (slots[k] !== FULL) statuses[this.places[k]] = SUBMIT.MALFORMED;
        }
        if (pushed < end) return pushed;
      }
      from = end;
      if (from < passed) {
        this.counters.settled++;
        statuses[this.places[from++]] = SUBMIT.SETTLED;
      }
    }
    return passed;
  }

  private accepted(slot: number, lastValidRound: number): void {
    this.counters.accepted++;
    this.queue.fifo.words[4 * slot + LAST_ROUND] = this.lastRounds.accepted(lastValidRound);
  }

  /** What nobody waits for, as its origin is gone, is from now on the caller's. */
  private takeOver(owner: number, k: number): boolean {
    const { words, times } = this.queue.fifo;
    const slot = this.queue.byId(this.ids, 32 * k);
    if (slot < 0 || words[4 * slot] !== this.orphans) return false;
    words[4 * slot] = owner;
    words[4 * slot + 1] = this.tags[k];
    times[2 * slot] = this.times[k];
    return true;
  }

  /** The index of the first transaction from `from` on whose outcome is known already. */
  private skipSettled(bytes: Uint8Array, from: number, passed: number): number {
    const { state } = this.chain;
    for (let k = from; ; k++) {
      k = state.firstRemembered(bytes, this.spans, k, passed);
      if (k === passed) return passed;
      // Another transaction may have used the sequence number: that is told when it is executed.
      const offset = this.spans[2 * k];
      const id = this.ids.subarray(32 * k, 32 * k + 32);
      if (this.lookup(senderOf(bytes, offset), sequenceOf(bytes, offset), id) !== undefined)
        return k;
    }
  }

  private reserveScratch(count: number): void {
    if (this.places.length >= count) return;
    this.ids = new Uint8Array(32 * count);
    this.spans = new Uint32Array(2 * count);
    this.places = new Int32Array(count);
    this.tags = new Int32Array(count);
    this.times = new Float64Array(count);
    this.slots = new Int32Array(count);
    this.verdicts = new Uint8Array(count);
  }

  read(key: Uint8Array) {
    return this.chain.state.read(key);
  }
  has(key: Uint8Array): boolean {
    return this.chain.state.has(key);
  }
  scan(start: Uint8Array, count: number): Uint8Array[] {
    return this.chain.state.scan(start, count);
  }
  balance(account: number): number {
    return this.chain.state.balance(account);
  }
  lookup(sender: number, sequence: number, txnID: Uint8Array): number | undefined {
    const outcome = this.chain.state.lookup(sender, sequence, txnID);
    return outcome === OUTCOME.DUPLICATE ? undefined : outcome;
  }
  stamp() {
    return this.chain.stamp();
  }
}
