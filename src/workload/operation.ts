/**
 * What a workload asks of a ledger, one operation at a time, without an object each: the driver
 * owns one Operation and has it filled again and again.
 */
import { OUTCOME } from "../ledger/receipt.ts";
import type { LedgerService } from "../ledger/service.ts";
import type { TransactionHead } from "../ledger/transaction.ts";

export const OPERATION = {
  READ: 0,
  UPDATE: 1,
  INSERT: 2,
  SCAN: 3,
  READ_MODIFY_WRITE: 4,
  TRANSFER: 5,
} as const;

/** As YCSB names them in its report. */
export const OPERATION_NAMES = [
  "READ",
  "UPDATE",
  "INSERT",
  "SCAN",
  "READ-MODIFY-WRITE",
  "TRANSFER",
] as const;

/** What came of an operation: the ledger's outcomes, and what can go wrong before or beside it. */
export const RESULT = {
  ...OUTCOME,
  /** A read found no record. */
  NOT_FOUND: 10,
  /** A read found other data than was written (dataintegrity). */
  UNEXPECTED_STATE: 11,
  /** Refused at intake: the bytes. */
  MALFORMED: 12,
  /** Refused at intake: another ledger. */
  WRONG_CHAIN: 13,
  /** Refused at intake: the rank is stopping. */
  STOPPING: 14,
  /** Given up by the driver before an answer came. */
  UNANSWERED: 15,
} as const;

export const RESULT_NAMES: readonly string[] = Object.keys(RESULT);

export interface Operation {
  kind: number;
  /** Record number, or the account that pays. */
  subject: number;
  /** Scan length; ordinal of an insert; or the account that is paid. */
  object: number;
  /** Of a transfer. */
  amount: number;
}

type Soon<F extends (...args: never) => unknown> = (
  ...args: Parameters<F>
) => ReturnType<F> | Promise<ReturnType<F>>;

/** Records, at once from the rank's own state, or later through a client's connection. */
export interface RecordReader {
  readonly read: Soon<LedgerService["read"]>;
  readonly scan: Soon<LedgerService["scan"]>;
  readonly balance: Soon<LedgerService["balance"]>;
}

/** What a driver needs of a rank: the rank's own service has it, and so has a client. */
export type LoadService = RecordReader &
  Pick<LedgerService, "chainId" | "rank" | "ranks" | "lastRound" | "attach" | "submit" | "lookup">;

export interface Workload {
  /** Operations of this rank in this phase; Infinity when only time ends it. */
  readonly operations: number;
  /** No transaction is longer. */
  readonly transactionBytesMax: number;
  /** Bytes that transactions are made from, if any: the batch keeps a copy beside them. */
  readonly pool?: Uint8Array;
  /** The copy lies in `bytes` at `poolAt`. */
  usePool?(bytes: Uint8Array, poolAt: number): void;
  /** Chooses the next operation. */
  choose(operation: Operation): void;
  /** Does the reading part of a READ, SCAN or READ_MODIFY_WRITE; answers a RESULT, or will. */
  perform(operation: Operation, reader: RecordReader): number | Promise<number>;
  /**
   * Writes the transaction at `offset`, answers its length. Sets sender and sequence in `head`:
   * each call makes a new transaction, also for an operation that was encoded before.
   */
  encode(operation: Operation, out: Uint8Array, offset: number, head: TransactionHead): number;
  /** The operation is final or has failed for good: an insert's record may be asked for now. */
  settled(operation: Operation): void;
}

/**
 * A sender of this incarnation and the sequence numbers of all that this rank sends, shared by the
 * phases of a run.
 */
export class Sender {
  readonly id: number;
  #sequence = 0;

  /** `random`: six random bytes, fresh ones each start, so that no sequence number comes again. */
  constructor(random: Uint8Array) {
    let id = 0;
    for (let i = 0; i < 6; i++) id = id * 256 + random[i];
    this.id = id;
  }

  /** Numbers rise, and none is below `earliest`. */
  nextSequence(earliest = 0): number {
    this.#sequence = Math.max(this.#sequence, earliest) + 1;
    return this.#sequence - 1;
  }
}

/** The part of [0, total) that belongs to `rank`: contiguous, sizes differ by one at most. */
export function shareOf(
  total: number,
  rank: number,
  ranks: number,
): { first: number; count: number } {
  const each = Math.floor(total / ranks);
  const extra = total - each * ranks;
  return { first: rank * each + Math.min(rank, extra), count: each + (rank < extra ? 1 : 0) };
}
