/**
 * The paper's transfers. Load phase: account 0, which holds the supply of a new ledger, funds all
 * others with an equal part of what it has. Run phase: random amounts from random accounts to random others. Sequence numbers
 * belong to the paying account, so an account is always paid from by the same rank: number modulo
 * ranks. Account 0 belongs to rank 0, which therefore does the load alone.
 */
import { Random } from "../base/random.ts";
import { encodeTransfer, TRANSFER_BYTES, type TransactionHead } from "../ledger/transaction.ts";
import {
  OPERATION,
  type Operation,
  RESULT,
  type Sender,
  shareOf,
  type Workload,
} from "./operation.ts";
import type { WorkloadConfig } from "./workload-config.ts";

/**
 * Sequence numbers begin at the wall clock times this, so those of a new job lie above those of the
 * job before it. 4096 a millisecond is more than any rank takes in, and 2^53 lasts until 2039.
 */
const SEQUENCES_PER_MS = 4096;

export interface TransfersOptions {
  readonly config: WorkloadConfig;
  readonly phase: "load" | "run";
  readonly rank: number;
  readonly ranks: number;
  readonly sender: Sender;
  /** What account 0 holds as the phase begins. */
  readonly treasury: number;
}

export class TransfersWorkload implements Workload {
  readonly operations: number;
  readonly transactionBytesMax = TRANSFER_BYTES;
  readonly #loads: boolean;
  readonly #rank: number;
  readonly #ranks: number;
  readonly #accounts: number;
  readonly #ownAccounts: number;
  readonly #amountMax: number;
  readonly #funding: number;
  readonly #random: Random;
  /** For its sequence numbers only: the paying account is the sender. */
  readonly #sender: Sender;
  #funded = 0;

  constructor(options: TransfersOptions) {
    const { config, rank, ranks } = options;
    this.#loads = options.phase === "load";
    this.#rank = rank;
    this.#ranks = ranks;
    this.#accounts = config["baash.accounts"];
    this.#ownAccounts = Math.ceil((this.#accounts - rank) / ranks);
    this.#amountMax = config["baash.amount"];
    this.#funding = Math.floor(options.treasury / this.#accounts);
    this.#sender = options.sender;
    this.#random = new Random(config["baash.seed"], rank + 1);
    this.operations = this.#loads ? this.#fundings() : this.#transfers(config);
  }

  choose(operation: Operation): void {
    operation.kind = OPERATION.TRANSFER;
    if (this.#loads) {
      operation.subject = 0;
      operation.object = ++this.#funded;
      operation.amount = this.#funding;
      return;
    }
    const payer = this.#rank + this.#random.nextBelow(this.#ownAccounts) * this.#ranks;
    // Any other account: one draw over all but the payer.
    const payee = this.#random.nextBelow(this.#accounts - 1);
    operation.subject = payer;
    operation.object = payee >= payer ? payee + 1 : payee;
    operation.amount = 1 + this.#random.nextBelow(this.#amountMax);
  }

  perform(): number {
    return RESULT.OK;
  }

  encode(operation: Operation, out: Uint8Array, offset: number, head: TransactionHead): number {
    head.senderID = operation.subject;
    head.sequence = this.#sender.nextSequence(head.creationTime * SEQUENCES_PER_MS);
    return encodeTransfer(out, offset, head, operation.object, operation.amount);
  }

  settled(): void {}

  #fundings(): number {
    return this.#rank === 0 && this.#funding > 0 ? this.#accounts - 1 : 0;
  }

  /** Ranks beyond the number of accounts own none and stay idle. */
  #transfers(config: WorkloadConfig): number {
    const payers = Math.min(this.#ranks, this.#accounts);
    if (this.#rank >= payers) return 0;
    if (config.operationcount === 0) return Number.POSITIVE_INFINITY;
    return shareOf(config.operationcount, this.#rank, payers).count;
  }
}
