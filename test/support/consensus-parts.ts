/** The parts of a cluster of cores: its options, and what is known of each process and epoch. */
import type { ProposalName, StorageOn, Timing, Vote } from "../../src/consensus/effects.ts";
import type { HyBE } from "../../src/consensus/hybe.ts";
import type { Epoch } from "./consensus-log.ts";

export const TIMING: Timing = {
  proposalTimeoutMs: 100,
  voteTimeoutMs: 100,
  turnDelayMs: 50,
  readDelayMs: 40,
  pullIntervalMs: 25,
  sealWaitMs: 150,
  takeoverMs: 400,
};

export type MessageKind =
  | "proposal"
  | "vote"
  | "pull"
  | "answer"
  | "body"
  | "decided"
  | "seal-pull"
  | "seal-answer";

/** `from` and `to` are processes. */
export interface Message {
  readonly kind: MessageKind;
  readonly from: number;
  readonly to: number;
  readonly round: number;
  readonly at: number;
}

/** Milliseconds that a message takes; undefined: it never arrives. */
export type Network = (message: Message) => number | undefined;

/** How long the parts of a process take, by process and round. */
export interface Delays {
  mine(rank: number, round: number): number;
  validate(rank: number): number;
  /** From the append until the link, and from the link until the writer is told. */
  link(rank: number): number;
  sync(rank: number): number;
  read(rank: number): number;
  /** From a SEAL until the process takes part in the next epoch. */
  regroup(rank: number): number;
}

export const DELAYS: Delays = {
  mine: () => 2,
  validate: () => 1,
  link: () => 3,
  sync: () => 2,
  read: () => 2,
  regroup: () => 2,
};

export interface ClusterOptions {
  readonly ranks: number;
  readonly depth?: number;
  readonly timing?: Timing;
  readonly delays?: Partial<Delays>;
  readonly network?: Network;
  readonly storageOn?: StorageOn;
  readonly minoritySeals?: boolean;
}

export interface Finalized {
  readonly slot: number;
  readonly hash: string;
  readonly rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>;
}

/** What one process did in one epoch. */
export interface Part {
  readonly epoch: Epoch;
  /** What the cores call its rank. */
  readonly place: number;
  readonly core: HyBE;
  readonly votes: Vote[];
  /** Votes that it had cast when it answered a seal-pull or sent one. */
  votesWhenFrozen: number | undefined;
  /** Every round on the vote lane, in order: voted or skipped. */
  readonly lane: number[];
  readonly agreed: { round: number; name: ProposalName }[];
  readonly mined: Map<number, string>;
  readonly returned: number[];
  sealed: boolean;
}

/** A process: it is never in two epochs at once. */
export interface Member {
  /** Its number; in the first epoch also what its core calls its rank. */
  readonly rank: number;
  readonly parts: Part[];
  dead: boolean;
  halted: string | undefined;
  storageOff: boolean;
  /** Effects digests are wrong from now on. */
  corrupt: boolean;
  /** Appends are reported as failed although they were linked. */
  mumbles: boolean;
  /** Ends it: in its next append before or after the link, or once it has sent a seal-pull. */
  dieAt: "link" | "linked" | "pulled" | undefined;
  tickAt: number;
  /** Answers that the core waits for: mining, appends, reads. */
  awaited: number;
  readonly bodies: Set<string>;
  readonly finals: Finalized[];
}
