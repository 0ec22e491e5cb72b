/**
 * A LedgerService in memory for tests of what stands above a rank: a queue of a given size and a
 * real state that a test moves on round by round, by hand or after each submit.
 */

import { kernels } from "../../src/base/kernels.ts";
import { encodeFrame } from "../../src/ledger/intake-frames.ts";
import {
  type LedgerService,
  type ReceiptBatch,
  SUBMIT,
  type TransactionBatch,
} from "../../src/ledger/service.ts";
import { State } from "../../src/ledger/state.ts";
import { lastValidRoundOf, senderOf, sequenceOf } from "../../src/ledger/transaction.ts";
import { checkTransaction } from "../../src/ledger/transaction-check.ts";
import { VERDICT } from "../../src/ledger/verdict.ts";
import { executeBlock } from "./execute-block.ts";

interface Entry {
  owner: number;
  tag: number;
  time: number;
  id: Uint8Array;
  bytes: Uint8Array;
}

export class MemoryService implements LedgerService {
  readonly chainId = new Uint8Array(16).fill(3);
  readonly rank = 0;
  readonly ranks = 1;
  readonly state = new State({ supply: 1_000_000 });
  readonly queue = new Map<string, Entry>();
  /** Runs a round in a microtask after each submit. */
  isAutomatic = true;
  submitted = 0;
  private readonly slots: number;
  private readonly owners: ((batch: ReceiptBatch) => void)[] = [];
  private readonly settled = new Map<string, number>();
  private round = 0;

  constructor(options: { slots?: number } = {}) {
    this.slots = options.slots ?? 100_000;
  }

  lastRound(): number {
    return this.round;
  }

  attach(onReceipts: (batch: ReceiptBatch) => void): number {
    return this.owners.push(onReceipts) - 1;
  }

  submit(owner: number, batch: TransactionBatch, from: number, statuses: Uint8Array): number {
    if (this.isAutomatic) queueMicrotask(() => this.settle());
    for (let i = from; i < batch.count; i++) {
      if (this.queue.size >= this.slots) return i;
      const at = batch.spans[2 * i];
      const length = batch.spans[2 * i + 1];
      const bytes = batch.bytes.slice(at, at + length);
      statuses[i] = this.judge(bytes);
      if (statuses[i] !== SUBMIT.ACCEPTED) continue;
      const id = new Uint8Array(32);
      kernels.leafHashes(bytes, Uint32Array.of(0, length), 1, id, 0);
      const key = Buffer.from(id).toString("hex");
      if (this.settled.has(key)) statuses[i] = SUBMIT.SETTLED;
      else if (this.queue.has(key)) statuses[i] = SUBMIT.DUPLICATE_PENDING;
      else {
        const [tag, time] = [batch.tags[i], batch.times[i]];
        this.queue.set(key, { owner, tag, time, id, bytes });
        this.submitted++;
      }
    }
    return batch.count;
  }

  private judge(bytes: Uint8Array): number {
    const verdict = checkTransaction(bytes, 0, bytes.length, this.chainId);
    if (verdict === VERDICT.WRONG_CHAIN) return SUBMIT.WRONG_CHAIN;
    if (verdict !== VERDICT.OK) return SUBMIT.MALFORMED;
    return lastValidRoundOf(bytes, 0) <= this.round ? SUBMIT.EXPIRED : SUBMIT.ACCEPTED;
  }

  /** Tells that all that is queued is agreed. */
  agree(): void {
    this.tell("agreed", [...this.queue.values()], new Uint8Array(this.queue.size));
  }

  /** Executes all that is queued as one round and tells. */
  settle(): void {
    const entries = [...this.queue.values()];
    if (entries.length === 0) return;
    this.agree();
    this.round++;
    const outcomes = this.execute(entries);
    this.queue.clear();
    for (const [i, { id }] of entries.entries()) {
      this.settled.set(Buffer.from(id).toString("hex"), outcomes[i]);
    }
    this.tell("final", entries, outcomes);
  }

  private execute(entries: readonly Entry[]): Uint8Array {
    const count = entries.length;
    const bodyLength = entries.reduce((sum, { bytes }) => sum + 4 + bytes.length, 0);
    const body = new Uint8Array(bodyLength);
    const ids = new Uint8Array(32 * count);
    for (let i = 0, at = 0; i < count; at += 4 + entries[i++].bytes.length) {
      new DataView(body.buffer).setUint32(at, entries[i].bytes.length, true);
      body.set(entries[i].bytes, at + 4);
      ids.set(entries[i].id, 32 * i);
    }
    const outcomes = new Uint8Array(count);
    const place = { bytes: body, bodyOffset: 0, bodyLength, count, ids, idsOffset: 0 };
    const chainHash = new Uint8Array(32);
    executeBlock(this.state, { ...place, round: this.round, chainHash, outcomes });
    this.state.endRound(this.round);
    return outcomes;
  }

  private tell(level: "agreed" | "final", entries: readonly Entry[], outcomes: Uint8Array): void {
    for (const [owner, onReceipts] of this.owners.entries()) {
      const own = [...entries.keys()].filter((i) => entries[i].owner === owner);
      if (own.length === 0) continue;
      const ids = new Uint8Array(32 * own.length);
      for (const [place, i] of own.entries()) ids.set(entries[i].id, 32 * place);
      onReceipts({
        level,
        count: own.length,
        tags: Int32Array.from(own, (i) => entries[i].tag),
        times: Float64Array.from(own, (i) => entries[i].time),
        outcomes: Uint8Array.from(own, (i) => outcomes[i]),
        ids,
      });
    }
  }

  read(key: Uint8Array) {
    return this.state.read(key);
  }

  has(key: Uint8Array): boolean {
    return this.state.has(key);
  }

  scan(start: Uint8Array, count: number): Uint8Array[] {
    return this.state.scan(start, count);
  }

  balance(account: number): number {
    return this.state.balance(account);
  }

  lookup(sender: number, sequence: number, txnID: Uint8Array): number | undefined {
    const isHere = [...this.queue.values()].some(
      ({ bytes }) => senderOf(bytes, 0) === sender && sequenceOf(bytes, 0) === sequence,
    );
    return isHere ? undefined : this.settled.get(Buffer.from(txnID).toString("hex"));
  }

  stamp() {
    return { epoch: "ab".repeat(32), slot: this.round, round: this.round };
  }
}

/** A raw peer for frames that no good client sends. */
export async function rawClient(path: string) {
  const received: Uint8Array[] = [];
  const closed = Promise.withResolvers<void>();
  let arrived = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data(_, bytes) {
        received.push(new Uint8Array(bytes));
        arrived.resolve();
        arrived = Promise.withResolvers();
      },
      close: () => closed.resolve(),
    },
  });
  return {
    socket,
    closed: closed.promise,
    received: () => new Uint8Array(Buffer.concat(received)),
    arrival: () => arrived.promise,
    send: (...frame: Parameters<typeof encodeFrame>) => socket.write(encodeFrame(...frame)),
  };
}
