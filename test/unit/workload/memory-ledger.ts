/**
 * A ledger of one rank in memory, behind the interface that a rank offers: a bounded queue, rounds
 * that execute some of it, receipts at both levels. And a clock that moves only when asked.
 */

import { sha256 } from "../../../src/base/sha256.ts";
import { OUTCOME, type Stamp } from "../../../src/ledger/receipt.ts";
import {
  type LedgerService,
  type ReceiptBatch,
  SUBMIT,
  type TransactionBatch,
} from "../../../src/ledger/service.ts";
import {
  afterKey,
  amountOf,
  FIELD_HEADER_BYTES,
  fieldCountOf,
  fieldNameBytes,
  fieldValueBytes,
  keyBytesOf,
  kindOf,
  lastValidRoundOf,
  nextField,
  receiverOf,
  senderOf,
  sequenceOf,
  TRANSACTION_KIND,
  TXN_OFFSET,
} from "../../../src/ledger/transaction.ts";
import { checkTransaction } from "../../../src/ledger/transaction-check.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";
import type { DriverClock } from "../../../src/workload/driver-clock.ts";

interface Pending {
  owner: number;
  bytes: Uint8Array;
  tag: number;
  time: number;
  id: Uint8Array;
}

const text = new TextDecoder("latin1");

export class MemoryLedger implements LedgerService {
  readonly chainId = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
  readonly rank = 0;
  readonly ranks = 1;
  readonly records = new Map<string, Map<string, Uint8Array>>();
  readonly balances = new Map<number, number>();
  readonly outcomes = new Map<string, number>();
  /** Every transaction that was executed with outcome OK, by txnID. */
  readonly executed = new Set<string>();
  /** Accepted transactions in order, for comparing bytes and counting. */
  accepted = 0;
  refused = 0;
  /** Executed at most so many a round. */
  perRound = 100;
  readonly #slots: number;
  readonly #queue: Pending[] = [];
  readonly #listeners: ((batch: ReceiptBatch) => void)[] = [];
  readonly #used = new Set<string>();
  #round = 0;

  constructor(slots = 1000) {
    this.#slots = slots;
  }

  lastRound(): number {
    return this.#round;
  }

  attach(onReceipts: (batch: ReceiptBatch) => void): number {
    return this.#listeners.push(onReceipts) - 1;
  }

  submit(owner: number, batch: TransactionBatch, from: number, statuses: Uint8Array): number {
    for (let i = from; i < batch.count; i++) {
      const start = batch.spans[2 * i];
      const bytes = batch.bytes.slice(start, start + batch.spans[2 * i + 1]);
      if (this.#queue.length === this.#slots) {
        this.refused++;
        statuses[i] = SUBMIT.FULL;
        return i;
      }
      if (checkTransaction(bytes, 0, bytes.length, this.chainId) !== VERDICT.OK) {
        statuses[i] = SUBMIT.MALFORMED;
        continue;
      }
      statuses[i] = SUBMIT.ACCEPTED;
      this.accepted++;
      const id = sha256(Uint8Array.of(0), bytes);
      this.#queue.push({ owner, bytes, tag: batch.tags[i], time: batch.times[i], id });
    }
    return batch.count;
  }

  /** One round: agreed for what it takes, execution, final. */
  settle(): void {
    this.#round++;
    const taken = this.#queue.splice(0, this.perRound);
    if (taken.length === 0) return;
    const outcomes = Uint8Array.from(taken, () => OUTCOME.OK);
    this.#tell("agreed", taken, outcomes);
    taken.forEach((pending, i) => {
      outcomes[i] = this.#execute(pending.bytes);
      const id = Buffer.from(pending.id).toString("hex");
      this.outcomes.set(id, outcomes[i]);
      if (outcomes[i] === OUTCOME.OK) this.executed.add(id);
    });
    this.#tell("final", taken, outcomes);
  }

  #tell(level: "agreed" | "final", taken: Pending[], outcomes: Uint8Array): void {
    this.#listeners.forEach((listener, owner) => {
      const own = taken.map((_, i) => i).filter((i) => taken[i].owner === owner);
      const ids = new Uint8Array(32 * own.length);
      own.forEach((i, at) => {
        ids.set(taken[i].id, 32 * at);
      });
      listener({
        level,
        count: own.length,
        tags: Int32Array.from(own, (i) => taken[i].tag),
        times: Float64Array.from(own, (i) => taken[i].time),
        outcomes: Uint8Array.from(own, (i) => outcomes[i]),
        ids,
      });
    });
  }

  #execute(bytes: Uint8Array): number {
    const sender = senderOf(bytes, 0);
    if (lastValidRoundOf(bytes, 0) < this.#round) return OUTCOME.EXPIRED;
    const use = `${sender}/${sequenceOf(bytes, 0)}`;
    if (this.#used.has(use)) return OUTCOME.SEQUENCE_USED;
    this.#used.add(use);
    if (kindOf(bytes, 0) === TRANSACTION_KIND.transfer) return this.#transfer(bytes, sender);
    const key = text.decode(bytes.subarray(TXN_OFFSET.key, TXN_OFFSET.key + keyBytesOf(bytes, 0)));
    const inserts = kindOf(bytes, 0) === TRANSACTION_KIND.insert;
    const record = inserts ? new Map<string, Uint8Array>() : this.records.get(key);
    if (record === undefined) return OUTCOME.NO_SUCH_KEY;
    this.records.set(key, record);
    let at = afterKey(bytes, 0);
    for (let i = 0; i < fieldCountOf(bytes, 0); i++) {
      const name = at + FIELD_HEADER_BYTES;
      const value = name + fieldNameBytes(bytes, at);
      record.set(
        text.decode(bytes.subarray(name, value)),
        bytes.slice(value, value + fieldValueBytes(bytes, at)),
      );
      at = nextField(bytes, at);
    }
    return OUTCOME.OK;
  }

  #transfer(bytes: Uint8Array, payer: number): number {
    const amount = amountOf(bytes, 0);
    if (this.balance(payer) < amount) return OUTCOME.OVERDRAFT;
    this.balances.set(payer, this.balance(payer) - amount);
    const payee = receiverOf(bytes, 0);
    this.balances.set(payee, this.balance(payee) + amount);
    return OUTCOME.OK;
  }

  read(key: Uint8Array) {
    const record = this.records.get(text.decode(key));
    if (record === undefined) return undefined;
    return Array.from(record, ([name, value]) => ({ name: Buffer.from(name), value }));
  }

  has(key: Uint8Array): boolean {
    return this.records.has(text.decode(key));
  }

  scan(start: Uint8Array, count: number): Uint8Array[] {
    const first = text.decode(start);
    const keys = Array.from(this.records.keys()).filter((key) => key >= first);
    return keys
      .sort()
      .slice(0, count)
      .map((key) => Buffer.from(key, "latin1"));
  }

  balance(account: number): number {
    return this.balances.get(account) ?? 0;
  }

  lookup(_sender: number, _sequence: number, txnID: Uint8Array): number | undefined {
    return this.outcomes.get(Buffer.from(txnID).toString("hex"));
  }

  stamp(): Stamp {
    return { epoch: "", slot: 0, round: this.#round };
  }
}

/** Time passes by looking at it (1 µs) and by waiting; while the driver waits the ledger works. */
export class VirtualClock implements DriverClock {
  time = 1_000_000;
  /** Waits that were asked for, ms. */
  readonly waits: number[] = [];
  readonly #ledger: MemoryLedger;
  /** A ledger that stalls from the first to the second moment. */
  stall: [number, number] = [0, 0];

  constructor(ledger: MemoryLedger) {
    this.#ledger = ledger;
  }

  now(): number {
    this.time += 0.001;
    return this.time;
  }

  async yield(): Promise<void> {
    this.time += 0.1;
    this.#work();
  }

  after(ms: number, callback: () => void): () => void {
    let isCancelled = false;
    this.waits.push(ms);
    let remaining = ms;
    const pass = () => {
      const step = Math.min(1, remaining);
      remaining -= step;
      this.time += step;
      this.#work();
      if (isCancelled) return;
      if (remaining > 0) queueMicrotask(pass);
      else callback();
    };
    queueMicrotask(pass);
    return () => {
      isCancelled = true;
    };
  }

  #work(): void {
    if (this.time < this.stall[0] || this.time >= this.stall[1]) this.#ledger.settle();
  }
}
