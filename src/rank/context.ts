/**
 * The parts of one running rank, shared by the side that takes inputs (loop.ts) and the side that
 * performs effects (perform.ts). Everything here lives on the main thread.
 */
import type { Input, Timing } from "../consensus/effects.ts";
import type { HyBE } from "../consensus/hybe.ts";
import type { Chain } from "../ledger/chain.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { TransactionQueue } from "../queue/transaction-queue.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Transport } from "../transport/transport.ts";
import type { Seal, Status } from "./envelope.ts";
import type { Intake } from "./intake.ts";
import type { OwnBlocks } from "./own-blocks.ts";
import type { Clock, WorkerPool } from "./ports.ts";
import type { ProposalTable } from "./proposals.ts";

export interface RankSettings {
  /** Transactions of a full block; the paper's 4. */
  readonly blockTransactions: number;
  /** A block closes before it is full when its oldest transaction has waited this long. */
  readonly blockDelayMs: number;
  /** Blocks and bytes of one proposal at most. */
  readonly proposalBlocksMax: number;
  readonly proposalBytesMax: number;
  /** Rounds that may be open at once. */
  readonly pipelineDepth: number;
  /** A rank with little to do opens no two rounds closer together than this. */
  readonly roundIntervalMs: number;
  /** Lanes for votes; round r goes on lane r mod lanes. */
  readonly lanes: number;
  readonly collectiveTimeoutMs: number;
  /** First pause before lost transactions are proposed again; doubles up to a second. */
  readonly retryDelayMs: number;
  /** How often a host looks for records that nobody announced. */
  readonly pollMs: number;
  /** Records between two checkpoints of this ledger. */
  readonly checkpointRecords: number;
  readonly timing: Timing;
}

export const DEFAULT_SETTINGS: RankSettings = {
  blockTransactions: 4,
  blockDelayMs: 5,
  proposalBlocksMax: 1024,
  proposalBytesMax: 2 << 20,
  pipelineDepth: 2,
  roundIntervalMs: 0,
  lanes: 4,
  collectiveTimeoutMs: 30_000,
  retryDelayMs: 20,
  pollMs: 1000,
  checkpointRecords: 4096,
  timing: {
    proposalTimeoutMs: 2000,
    voteTimeoutMs: 2000,
    turnDelayMs: 500,
    readDelayMs: 500,
    pullIntervalMs: 250,
  },
};

/** Who this process is in the epoch. */
export interface Session {
  readonly self: number;
  readonly ranks: number;
  readonly incarnation: Uint8Array;
  readonly epoch: Uint8Array;
  readonly seal: Seal;
}

export interface Alert {
  readonly code: string;
  readonly message: string;
}

export interface RankEvents {
  /** The rank cannot go on: the sentence says why. */
  onHalt(code: string, reason: string): void;
  /** The record of `slot` is executed here. */
  onFinal(slot: number): void;
  onAlert(alert: Alert): void;
  onStatus(from: number, status: Status): void;
  /** A SEAL without members: the epoch ended cleanly. */
  onSealed(): void;
}

export interface RankContext {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly pool: WorkerPool;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
  readonly session: Session;
  readonly settings: RankSettings;
  readonly transactions: TransactionQueue;
  readonly outgoing: BlockQueue;
  readonly incoming: BlockQueue;
  readonly proposals: ProposalTable;
  readonly own: OwnBlocks;
  readonly intake: Intake;
  readonly core: HyBE;
  readonly events: RankEvents;
  /** Hands an input to the core, now or right after the one being handled. */
  emit(input: Input): void;
  /** The record of `slot` is a SEAL without members: everything was drained before it. */
  sealed(slot: number, hash: string): void;
  /** Counters of what was dropped, and why. */
  readonly dropped: Map<string, number>;
  /** The last block may close before it is full: its oldest waited, or the rank drains. */
  partial(): boolean;
}
