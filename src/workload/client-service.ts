/**
 * A rank's ledger service as a client process has it: through the intake's socket. Transactions go
 * into the connection's window and are refused as FULL beyond it; receipts of both levels and the
 * answers to reads come later.
 */
import { kernels } from "../base/kernels.ts";
import type { ClientReceipt, LedgerClient } from "../client/client.ts";
import { OUTCOME } from "../ledger/receipt.ts";
import { type ReceiptBatch, SUBMIT, type TransactionBatch } from "../ledger/service.ts";
import { type LoadService, RESULT } from "./operation.ts";

const TXN_ID_BYTES = 32;

/** Receipts that come together are told together. */
class Collected {
  private readonly tags: number[] = [];
  private readonly times: number[] = [];
  private readonly outcomes: number[] = [];
  private readonly ids: Uint8Array[] = [];

  add(tag: number, time: number, outcome: number, id: Uint8Array): void {
    this.tags.push(tag);
    this.times.push(time);
    this.outcomes.push(outcome);
    this.ids.push(id);
  }

  /** Answers what was collected and begins anew. */
  take(level: ReceiptBatch["level"]): ReceiptBatch | undefined {
    const count = this.tags.length;
    if (count === 0) return undefined;
    const ids = new Uint8Array(TXN_ID_BYTES * count);
    for (const [i, id] of this.ids.splice(0).entries()) ids.set(id, TXN_ID_BYTES * i);
    return {
      level,
      count,
      tags: Int32Array.from(this.tags.splice(0)),
      times: Float64Array.from(this.times.splice(0)),
      outcomes: Uint8Array.from(this.outcomes.splice(0)),
      ids,
    };
  }
}

export class ClientService implements LoadService {
  readonly chainId: Uint8Array;
  readonly rank: number;
  readonly ranks: number;
  private readonly client: LedgerClient;
  private readonly onError: (error: Error) => void;
  private readonly listeners: ((batch: ReceiptBatch) => void)[] = [];
  private readonly agreed: Collected[] = [];
  private readonly final: Collected[] = [];
  private outstanding = 0;
  private flushDue = false;

  /** `onError`: the connection is lost for good. */
  constructor(client: LedgerClient, onError: (error: Error) => void) {
    const { chainId, rank, ranks } = client.facts;
    this.client = client;
    this.onError = onError;
    this.chainId = chainId;
    this.rank = rank;
    this.ranks = ranks;
  }

  lastRound(): number {
    return this.client.lastRound;
  }

  attach(onReceipts: (batch: ReceiptBatch) => void): number {
    this.agreed.push(new Collected());
    this.final.push(new Collected());
    return this.listeners.push(onReceipts) - 1;
  }

  submit(owner: number, batch: TransactionBatch, from: number, statuses: Uint8Array): number {
    const room = this.client.facts.inFlightMax - this.outstanding;
    const count = Math.min(room, batch.count - from);
    if (count < batch.count - from) statuses[from + count] = SUBMIT.FULL;
    if (count > 0) {
      statuses.fill(SUBMIT.ACCEPTED, from, from + count);
      this.send(owner, batch, { from, count });
    }
    return from + count;
  }

  /** The batch is the caller's again afterwards: what the connection may send again is copied. */
  private send(
    owner: number,
    batch: TransactionBatch,
    { from, count }: { from: number; count: number },
  ): void {
    const spans = batch.spans.slice(2 * from, 2 * (from + count));
    const tags = batch.tags.slice(from, from + count);
    const times = batch.times.slice(from, from + count);
    const ids = new Uint8Array(TXN_ID_BYTES * count);
    kernels.leafHashes(batch.bytes, spans, count, ids, 0);
    const transactions: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      transactions.push(batch.bytes.slice(spans[2 * i], spans[2 * i] + spans[2 * i + 1]));
    }
    const onReceipt = (place: number, receipt: ClientReceipt) => {
      const id = ids.subarray(TXN_ID_BYTES * place, TXN_ID_BYTES * (place + 1));
      const isAgreed = receipt.level === "agreed";
      const collected = (isAgreed ? this.agreed : this.final)[owner];
      collected.add(tags[place], times[place], outcomeOf(receipt), id);
      if (!isAgreed) this.outstanding--;
      this.flushSoon();
    };
    this.outstanding += count;
    this.client.submit(transactions, "both", onReceipt).catch(this.onError);
  }

  private flushSoon(): void {
    if (this.flushDue) return;
    this.flushDue = true;
    queueMicrotask(() => {
      this.flushDue = false;
      for (const [owner, listener] of this.listeners.entries()) {
        const agreed = this.agreed[owner].take("agreed");
        if (agreed !== undefined) listener(agreed);
        const final = this.final[owner].take("final");
        if (final !== undefined) listener(final);
      }
    });
  }

  async read(key: Uint8Array) {
    return (await this.client.read(key.slice())).fields;
  }

  scan(start: Uint8Array, count: number): Promise<Uint8Array[]> {
    return this.client.scan(start.slice(), count);
  }

  async balance(account: number): Promise<number> {
    return (await this.client.balance(account)).balance;
  }

  /** A transaction that is settled has its receipt as an answer to `submit`. */
  lookup(): undefined {
    return undefined;
  }
}

/** What a driver calls it: of what was refused, whether making it anew may help. */
function outcomeOf(receipt: ClientReceipt): number {
  switch (receipt.level) {
    case "agreed":
      return OUTCOME.OK;
    case "final":
      return OUTCOME[receipt.outcome];
    case "refused":
      switch (receipt.code) {
        case "EXPIRED":
        case "BEYOND_WINDOW":
          return OUTCOME[receipt.code];
        case "WRONG_CHAIN":
        case "STOPPING":
          return RESULT[receipt.code];
        default:
          return RESULT.MALFORMED;
      }
  }
}
