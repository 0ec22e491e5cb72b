/**
 * The port through which a rank talks to the other ranks. Twins: `mpi.ts` (real) and
 * `in-process.ts` (simulated). Nothing here blocks the event loop; results come to the handler.
 *
 * Point-to-point carries correctness, collectives are the fast path: any collective may hang once a
 * rank is dead, so each has a deadline, and missing it poisons its lane for good. `regroup` makes
 * fresh lanes among survivors.
 */
import type { BaashError } from "../base/errors.ts";

/** Messages that arrived together; `bytes(i)` is valid only until `onMessages` returns. */
export interface Messages {
  readonly count: number;
  from(index: number): number;
  bytes(index: number): Uint8Array;
}

export interface TransportHandler {
  onMessages(batch: Messages): void;
  /**
   * `parts[i]` is what `members[i]` contributed; valid only until this returns. Calls of one lane
   * arrive in the order in which they were made, so the k-th call here is the k-th `allgather`.
   */
  onAllgather(lane: number, parts: readonly Uint8Array[]): void;
  /**
   * Codes: COLLECTIVE_DEADLINE (data.lane: nothing more comes from that lane, what was under way is
   * given up), MESSAGE_TOO_LARGE (data.peer), SEND_QUEUE_FULL (data.peer; its messages are dropped
   * until it receives again), BAD_CONTRIBUTION (data.lane, data.peer), MPI_ERR_… (data.call).
   */
  onError(error: BaashError): void;
}

export type ReduceOperation = "sum" | "min" | "max";

export interface RegroupOptions {
  /** World ranks in the order that `parts` will have; this rank among them, all name the same. */
  readonly members: readonly number[];
  /** Names this attempt: equal on all members, never used twice for overlapping members. */
  readonly attempt: number;
  readonly deadlineMs: number;
}

/** How long barrier, allreduce and close wait where the caller does not say. */
export const COLLECTIVE_DEADLINE_MS = 30_000;
/** Attempts of `regroup` start again at 0 after this many: MPI tags are 15 bits at least. */
export const REGROUP_ATTEMPTS = 256;

export interface Transport {
  /** The number of this process in the job, from 0. */
  readonly rank: number;
  readonly size: number;
  readonly lanes: number;
  readonly host: string;
  /** Ranks (this one too) that share this machine. */
  readonly ranksOnHost: readonly number[];
  /** Ranks that take part in collectives: all, until `regroup`. */
  readonly members: readonly number[];
  /** Set once before anything else; receiving begins when it is set. */
  handler: TransportHandler;
  /**
   * Ordered per pair. Bytes up to a bound of the twin are copied; longer ones are kept by reference
   * until sent, so their caller must not change them any more. Throws RangeError for a bad rank and
   * BaashError MESSAGE_TOO_LARGE.
   */
  send(to: number, bytes: Uint8Array): void;
  sendMany(to: readonly number[], bytes: Uint8Array): void;
  /**
   * Every member calls this for a lane in the same order and with the same `bytesMax`. Throws
   * BaashError LANE_POISONED if the lane is lost.
   */
  allgather(lane: number, bytes: Uint8Array, bytesMax: number, deadlineMs: number): void;
  /** All members; rejects with COLLECTIVE_DEADLINE or LANE_POISONED. */
  barrier(deadlineMs?: number): Promise<void>;
  /** All members, equal lengths. */
  allreduce(
    values: Float64Array,
    operation: ReduceOperation,
    deadlineMs?: number,
  ): Promise<Float64Array>;
  /** True once the lane missed a deadline. */
  lanePoisoned(lane: number): boolean;
  /**
   * Fresh lanes among `members` (MPI_Comm_create_group); what is under way on the old ones is given
   * up. Rejects with REGROUP_DEADLINE: try again with another attempt number.
   */
  regroup(options: RegroupOptions): Promise<void>;
  counters(): Record<string, number>;
  /**
   * Sends what is queued, meets all ranks, finalizes. Resolves to false when that was not possible
   * (a lane is lost, a rank is dead): then end the process without more ado.
   */
  close(deadlineMs?: number): Promise<boolean>;
  /** Ends all processes of the job. */
  abort(code: number): void;
}
