/**
 * What a rank needs of the world beside transport (transport/transport.ts) and storage
 * (storage/storage-service.ts). Each has a real form and an in-process twin of the same methods;
 * `rank.ts` picks the real ones, the simulator the twins, and nothing else tells them apart.
 */
import type { BuildRequest } from "../queue/block-building.ts";
import type { CheckRequest } from "../queue/block-checking.ts";

/** Time of one rank. `now` never goes back; `wall` is milliseconds since 1970 and may. */
export interface Clock {
  now(): number;
  wall(): number;
  /** Calls back once at `at` (of `now`), never inside this call. Returns a cancel function. */
  schedule(at: number, callback: () => void): () => void;
}

/** Source of incarnations, nonces and session keys. */
export interface Entropy {
  bytes(count: number): Uint8Array;
}

export interface PoolHandler {
  /** `blocks` blocks of own proposal of `round` are in the outgoing queue. */
  onBuilt(round: number, blocks: number): void;
  /** The blocks of check `ticket` were judged; 0 = all good (ledger/verdict.ts). */
  onChecked(ticket: number, verdict: number): void;
  /** An exception in a worker: its check counts as an abstention. */
  onCheckFailed(ticket: number, error: unknown): void;
}

export interface WorkerPool {
  handler: PoolHandler;
  /** Builds and mines blocks from the transaction queue into the outgoing queue. */
  build(request: BuildRequest): void;
  /** Checks blocks of the incoming queue where they lie. */
  check(ticket: number, request: CheckRequest, txnCount: number): void;
  counters(): Record<string, number>;
  close(): Promise<void>;
}
