/**
 * The parts of one running rank, shared by the side that takes inputs (loop.ts) and the side that
 * performs effects (perform.ts). Everything here lives on the main thread. What is of one epoch is
 * in RankContext alone: the next SEAL makes a new one.
 */
import type { ExitCode } from "../base/errors.ts";
import type { HyBEOptions } from "../consensus/ballot.ts";
import type { Input, Timing } from "../consensus/effects.ts";
import type { HyBE } from "../consensus/hybe.ts";
import type { Chain } from "../ledger/chain.ts";
import type { Member } from "../ledger/settlement.ts";
import { SEGMENT_RECORDS } from "../limits.ts";
import type { MonitorEvent, MonitorTiming } from "../monitor/monitor-events.ts";
import type { BuildRequest } from "../queue/block-building.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { TransactionQueue } from "../queue/transaction-queue.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Transport } from "../transport/transport.ts";
import type { Authority } from "./authority.ts";
import type { Convictions } from "./convictions.ts";
import type { Status } from "./envelope.ts";
import type { EvidenceWatch } from "./evidence-watch.ts";
import type { Intake } from "./intake.ts";
import type { Misdeeds } from "./misdeeds.ts";
import type { OwnBlocks } from "./own-blocks.ts";
import type { Clock, WorkerPool } from "./ports.ts";
import type { ProposalTable } from "./proposals.ts";
import type { Identity, Roster } from "./roster.ts";
import type { Session } from "./session.ts";
import type { Signing } from "./signing.ts";
import type { StageClock } from "./stage-clock.ts";

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
  /** In epochs of so many members or more, proposals go by collective … */
  readonly gatherFrom: number;
  /** … if they are no longer than this; each member's part is padded to it. */
  readonly gatherBytes: number;
  /** First pause before lost transactions are proposed again; doubles up to a second. */
  readonly retryDelayMs: number;
  /** How often a host looks for records that nobody announced. */
  readonly pollMs: number;
  /** Records between two checkpoints of this ledger. */
  readonly checkpointRecords: number;
  /** Records in one segment of this ledger: what its storage was opened with. */
  readonly segmentRecords: number;
  readonly timing: Timing;
  readonly monitoring: MonitorTiming;
  /** When rounds go to the storage validator: step 8 of HyBE. */
  readonly storageOn: StorageOn;
  /** Members that the job wants to have: healing stops there, and nobody is admitted beyond. */
  readonly ranksWanted: number;
  readonly heal: "off" | "spawn";
  /** So long an evicted process that still lives is waited for before it is replaced. */
  readonly healAfterMs: number;
  readonly spawnTimeoutMs: number;
  readonly regroupTimeoutMs: number;
  /** A process that was sealed out, or spawned, says so often that it wants to take part … */
  readonly helloMs: number;
  /** … and gives up after this. */
  readonly admitTimeoutMs: number;
  readonly propagate: "off" | "backup" | "all";
  /** One member of each host re-reads so many old records … */
  readonly scrubRecords: number;
  /** … so often; 0: never. */
  readonly scrubMs: number;
  /** So long other members may take to answer with a copy of a damaged record. */
  readonly repairWaitMs: number;
  /** With most members gone, storage is waited for so long. */
  readonly storageLostMs: number;
}

export type StorageOn = HyBEOptions["storageOn"];

export const DEFAULT_SETTINGS: RankSettings = {
  blockTransactions: 4,
  blockDelayMs: 5,
  proposalBlocksMax: 1024,
  proposalBytesMax: 2 << 20,
  pipelineDepth: 2,
  roundIntervalMs: 0,
  lanes: 4,
  collectiveTimeoutMs: 30_000,
  gatherFrom: 65,
  gatherBytes: 2048,
  retryDelayMs: 20,
  pollMs: 1000,
  checkpointRecords: 4096,
  segmentRecords: SEGMENT_RECORDS,
  timing: {
    proposalTimeoutMs: 2000,
    voteTimeoutMs: 2000,
    turnDelayMs: 500,
    readDelayMs: 500,
    pullIntervalMs: 250,
    sealWaitMs: 300,
    takeoverMs: 5000,
  },
  monitoring: { heartbeatMs: 100, suspectMs: 1000, evictMs: 3000, turnDelayMs: 200, scale: 1 },
  storageOn: "alert",
  ranksWanted: 1,
  heal: "off",
  healAfterMs: 60_000,
  spawnTimeoutMs: 20_000,
  regroupTimeoutMs: 5000,
  helloMs: 500,
  admitTimeoutMs: 60_000,
  propagate: "off",
  scrubRecords: 64,
  scrubMs: 10_000,
  repairWaitMs: 5000,
  storageLostMs: 30_000,
};

/** One round's work of all ranks together: some 20 ms of a core, so that rounds stay short. */
const ROUND_BLOCKS = 1024;
const ROUND_TRANSACTIONS = 16_384;

/** Blocks in one rank's proposal, at most. */
export function proposalBlocksMax(ranks: number, blockTransactions: number): number {
  const transactions = Math.ceil(ROUND_TRANSACTIONS / ranks / blockTransactions);
  return Math.max(1, Math.min(Math.ceil(ROUND_BLOCKS / ranks), transactions));
}

/**
 * Up to here a rank handles the proposals and votes of all others in a small part of the deadlines;
 * beyond, both grow together.
 */
const TIMED_RANKS = 2048;

/**
 * Ranks that outnumber their cores wait for each other's time slices, and many ranks have much to
 * say in a round: deadlines follow.
 */
export function scaledTiming(of: { ranksPerCore: number; ranks: number }): RankSettings["timing"] {
  const { timing } = DEFAULT_SETTINGS;
  const crowded = Math.min(4, Math.max(1, of.ranksPerCore / 2));
  const scale = crowded * Math.max(1, of.ranks / TIMED_RANKS);
  return {
    proposalTimeoutMs: scale * timing.proposalTimeoutMs,
    voteTimeoutMs: scale * timing.voteTimeoutMs,
    turnDelayMs: scale * timing.turnDelayMs,
    readDelayMs: scale * timing.readDelayMs,
    pullIntervalMs: scale * timing.pullIntervalMs,
    sealWaitMs: scale * timing.sealWaitMs,
    takeoverMs: timing.takeoverMs,
  };
}

export interface Alert {
  readonly code: string;
  readonly message: string;
}

export interface RankEvents {
  /** The rank cannot go on: the sentence says why. Without an exit code, by `code`. */
  onHalt(code: string, reason: string, exitCode?: ExitCode): void;
  /** The record of `slot` is executed here. */
  onFinal(slot: number): void;
  onAlert(alert: Alert): void;
  onStatus(from: number, status: Status): void;
  /** This rank takes part in a new epoch. */
  onEpoch(session: Session): void;
  /** A SEAL without members: the epoch ended cleanly. */
  onSealed(): void;
  /** Something that the fault monitor saw or did. */
  onMonitor(event: MonitorEvent): void;
}

/** The record that ended an epoch. */
export interface EpochEnd {
  readonly slot: number;
  /** Hash of the record before it, hex. */
  readonly prevHash: string;
  readonly hash: string;
  /** Of the next epoch; empty: the ledger was closed. */
  readonly members: readonly Member[];
  /** Its author was no member of the epoch that it ended: another job took the ledger over. */
  readonly foreign: boolean;
  /** This rank wrote it. */
  readonly own: boolean;
}

/** What an epoch's context shares with those before and after it. */
export interface RankShared {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly pool: WorkerPool;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
  readonly settings: RankSettings;
  readonly transactions: TransactionQueue;
  readonly outgoing: BlockQueue;
  readonly incoming: BlockQueue;
  readonly own: OwnBlocks;
  readonly intake: Intake;
  readonly events: RankEvents;
  readonly roster: Roster;
  readonly authority: Authority;
  readonly counters: RankCounters;
  readonly stages: StageClock;
  readonly misdeeds: Misdeeds;
  readonly convictions: Convictions;
  /** Process → for so long it has to ask for a SEAL that nobody else sees a reason for, ms. */
  readonly sealPatience: Map<number, number>;
  /** Segment → hash of the record before its first: what folding starts from. */
  readonly segmentParents: Map<number, Uint8Array>;
  /** Numbers of checks by the pool, never used twice: an epoch may end while one is under way. */
  readonly tickets: { next: number };
  /** The last block may close before it is full: its oldest waited, or the rank drains. */
  partial(): boolean;
  /** Everything is to become final now: records take the room held in reserve. */
  draining(): boolean;
}

export interface RankCounters {
  blocks: number;
  transactions: number;
  epochs: number;
  /** Own ones, by the way they went to the others. */
  readonly proposals: { gathered: number; direct: number };
  /** Messages that were dropped, by reason. */
  readonly dropped: Map<string, number>;
}

export interface RankContext extends RankShared {
  readonly session: Session;
  readonly identity: Identity;
  readonly proposals: ProposalTable;
  readonly core: HyBE;
  /** Of a byzantine epoch; undefined in a majority epoch, where nothing is signed. */
  readonly signing: Signing | undefined;
  readonly watch: EvidenceWatch;
  /** Hands an input to the core, now or right after the one being handled; void once the epoch ended. */
  emit(input: Input): void;
  /** Has the pool build; `built` of this epoch's performer hears of it if the epoch still lasts. */
  build(request: BuildRequest): void;
  /** The epoch is over; what it included is executed. */
  sealed(end: EpochEnd): void;
  /** A record that this rank needs is damaged: others are asked for a copy. */
  wantRecord(error: unknown): void;
  /** Fewer members than can seal the epoch are believed to live. */
  inMinority(): boolean;
  /** The SEAL that this rank is to author closes the ledger: nobody is in the next epoch. */
  closes(): boolean;
  /** C3 of the fault monitor: an exception where it could be contained. */
  exception(where: string): void;
}
