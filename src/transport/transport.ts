/**
 * The port through which a process of the job talks to the others. Twins: `mpi.ts` (real) and
 * `in-process.ts` (simulated). Nothing here blocks the event loop; results come to the handler.
 *
 * Addresses are process numbers: 0..size-1 at the start of the job, the lowest unused ones for
 * spawned processes, never reused. Messages of one pair of processes arrive in order and once, across
 * every spawn and regroup, as long as both live; there is no promise between different pairs.
 *
 * Point-to-point carries correctness, collectives are the fast path: any collective may hang once a
 * process is dead, so each has a deadline, and missing it poisons its lane for good. `regroup` makes
 * fresh lanes among those that live; `spawn` brings replacements, which are in no lane until a
 * regroup. Any process may end at any time without a word, number 0 too: the others go on.
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
   * until it receives again), BAD_CONTRIBUTION (data.lane, data.peer), MPI_ERR_… (data.call),
   * MPI_STALLED (MPI itself hangs in this process: end it).
   */
  onError(error: BaashError): void;
}

export type ReduceOperation = "sum" | "min" | "max";

export interface RegroupOptions {
  /** Process numbers in the order that `parts` will have; this one among them, all name the same. */
  readonly members: readonly number[];
  /** Names this attempt: equal on all members, never used twice for overlapping members. */
  readonly attempt: number;
  readonly deadlineMs: number;
}

export interface SpawnOptions extends RegroupOptions {
  /** How many processes to start. */
  readonly count: number;
  /** Program and arguments; started by `members[0]`, in its working directory. */
  readonly command: readonly string[];
}

/** How long barrier, allreduce and close wait where the caller does not say. */
export const COLLECTIVE_DEADLINE_MS = 30_000;
/** Attempts are told apart modulo this number; fewer where the MPI's tags end earlier. */
export const REGROUP_ATTEMPTS = 2 ** 24;

export interface Transport {
  /** The number of this process in the job. */
  readonly rank: number;
  /** How many processes the job had at its start; spawned ones have higher numbers. */
  readonly size: number;
  /** Started by `spawn`: every lane is poisoned until the first regroup. */
  readonly spawned: boolean;
  readonly lanes: number;
  readonly host: string;
  /** Processes (this one too, dead ones included) that share this machine; ascending. */
  readonly ranksOnHost: readonly number[];
  /** Processes that take part in collectives: all of the start, until `regroup`. */
  readonly members: readonly number[];
  /** All that messages can be sent to, this one and dead ones included; ascending. Grows. */
  readonly processes: readonly number[];
  /** Set once before anything else; receiving begins when it is set. */
  handler: TransportHandler;
  /**
   * Ordered per pair. Bytes up to a bound of the twin are copied; longer ones are kept by reference
   * until sent, so their caller must not change them any more. A message to a process that cannot be
   * reached (not in `processes`, or forgotten) is dropped and counted in `sendsDropped`. Throws
   * RangeError for what is no process number and BaashError MESSAGE_TOO_LARGE.
   */
  send(to: number, bytes: Uint8Array): void;
  sendMany(to: readonly number[], bytes: Uint8Array): void;
  /**
   * That process is certainly dead (not only silent): what waits for it is dropped and nothing more is
   * sent to it; what it had sent may still come for a moment. A regroup or spawn under way with it as
   * a member ends at once with REGROUP_IMPOSSIBLE. Not to be undone.
   */
  forget(process: number): void;
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
  /** True once the lane missed a deadline, and at a spawned process, until a regroup. */
  lanePoisoned(lane: number): boolean;
  /**
   * Fresh lanes among `members`, which may be spawned or returned processes; what is under way on the
   * old ones is given up. All members call it. Rejects with REGROUP_DEADLINE (try again with another
   * attempt number), or REGROUP_IMPOSSIBLE: at once when a member was forgotten or nothing connects
   * these members, at the deadline when nobody told this process of a member.
   */
  regroup(options: RegroupOptions): Promise<void>;
  /**
   * Starts `count` processes; all members call it with equal arguments, and `attempt` is shared with
   * `regroup`. Resolves with their numbers, equal at all members and at the new processes. These and
   * the members reach each other then; others learn of them in a regroup with them.
   * Rejects with SPAWN_DEADLINE, SPAWN_FAILED, REGROUP_IMPOSSIBLE, or NOT_SUPPORTED where the MPI
   * cannot. After SPAWN_DEADLINE the new processes may still appear in `processes` later on.
   */
  spawn(options: SpawnOptions): Promise<readonly number[]>;
  counters(): Record<string, number>;
  /**
   * Sends what is queued, meets all processes, finalizes. Resolves to false when that was not possible
   * (a lane is lost, somebody is dead or was spawned): then end the process without more ado.
   */
  close(deadlineMs?: number): Promise<boolean>;
  /** Ends all processes of the job. */
  abort(code: number): void;
}
