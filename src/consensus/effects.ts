/**
 * The vocabulary of HyBE: what goes into the core and what comes out of it. The core never does
 * anything itself: `rank/perform` is the one switch that turns effects into calls.
 * Hashes are lower-case hex strings here: a round handles one a rank, never one a transaction.
 */

/** A rank's place in the epoch and the sizes of its quorums (protocol.md, Words). */
export interface EpochView {
  readonly self: number;
  readonly ranks: number;
  /** w: yes-votes that win. */
  readonly winVotes: number;
  /** R: members that meet every possible winning set. */
  readonly answersMin: number;
}

/** Deadlines of a round, all in milliseconds. */
export interface Timing {
  /** From the opening of a round until proposals not received count as ⊥. */
  readonly proposalTimeoutMs: number;
  /** From one's own vote until missing votes and bodies are pulled point-to-point. */
  readonly voteTimeoutMs: number;
  /** Δ: the k-th backup recorder or storage validator waits k·Δ. */
  readonly turnDelayMs: number;
  /** From a DECIDED that does not match until the record itself is read. */
  readonly readDelayMs: number;
  /** Between two requests for the same thing. */
  readonly pullIntervalMs: number;
  /** The author of a SEAL waits so long for the answers of members that are not suspected. */
  readonly sealWaitMs: number;
  /** Deadline of an INTENT, from its completed sync until the SEAL of a minority may follow it. */
  readonly takeoverMs: number;
}

/**
 * When storage decides instead of the ranks (step 8): once they could not within voteTimeout, also
 * at once on an alert or a suspicion, or in every round (for the paper's overhead figure).
 */
export type StorageOn = "alert" | "no-majority" | "always";

export const ANSWER = { none: 0, no: 1, yes: 2 } as const;
export type Verdict = "yes" | "no" | "abstain";

/**
 * One rank's answers in one round. `hashes` says which proposal of each rank an answer is about
 * ("" where the answer is ⊥); it is undefined until the vote is *opened*.
 */
export interface Vote {
  readonly round: number;
  readonly rank: number;
  /** One ANSWER a rank. */
  readonly answers: Uint8Array;
  /** SHA-256 over round, answers and hashes: who holds the same hashes recomputes it. */
  readonly digest: string;
  /** Newest final slot of the voter, and its effects digest there. */
  readonly effectsSlot: number;
  readonly effectsDigest: string;
  hashes: readonly string[] | undefined;
}

/** A proposal that a record includes or names. */
export interface ProposalName {
  readonly rank: number;
  readonly hash: string;
}

/** How one round ends: what is in, what was named but is lost, and by which votes. */
export interface RoundSettlement {
  readonly round: number;
  readonly included: readonly ProposalName[];
  readonly lost: readonly ProposalName[];
  readonly votes: readonly Vote[];
}

export type RecordKind = "QUORUM" | "STORAGE" | "SEAL" | "INTENT" | "NOOP";

/** A record as the core sees it: judged valid or not from its bytes and the chain alone. */
export interface RecordSummary {
  readonly slot: number;
  readonly hash: string;
  readonly kind: RecordKind;
  /** False: intact but settles nothing (a NOOP whatever it calls itself). */
  readonly valid: boolean;
  readonly firstRound: number;
  readonly lastRound: number;
  readonly rounds: ReadonlyArray<{ round: number; included: readonly ProposalName[] }>;
  /** Of a valid INTENT: who answered its author, and whether this incarnation wrote it. */
  readonly intent?: {
    readonly answered: readonly number[];
    readonly own: boolean;
    readonly deadlineMs: number;
  };
}

/** The recorder's word that a record is synced and linked. */
export interface Decided {
  readonly slot: number;
  readonly hash: string;
  readonly kind: RecordKind;
  readonly firstRound: number;
  readonly lastRound: number;
  /** SHA-256 over the ordered names of what the record includes. */
  readonly orderDigest: string;
}

export interface Pull {
  readonly round: number;
  /** The asker wants this member's vote with its hashes. */
  readonly vote: boolean;
  /** Step 8: who has not voted votes at once with what it holds. */
  readonly force: boolean;
  /** Proposals whose bodies the asker lacks. */
  readonly bodies: readonly ProposalName[];
}

/** A member is about to seal the epoch. Who answers is frozen: no further vote in that epoch. */
export interface SealPull {
  /** Members that the next epoch is to be without, unless they answer. */
  readonly evict: readonly number[];
  /** Incarnations (hex) that it is to have in addition. */
  readonly admit: readonly string[];
  /** The author's newest opened round. */
  readonly lastRound: number;
}

/** What a frozen member holds. In rounds above `lastVoted` its answer is ⊥ for ever. */
export interface SealAnswer {
  readonly rank: number;
  readonly headSlot: number;
  readonly lastVoted: number;
  /** Own votes, opened, of each round after the last that the answerer knows to be settled. */
  readonly votes: readonly Vote[];
  readonly effectsSlot: number;
  readonly effectsDigest: string;
}

export type Input =
  | { type: "tick" }
  /** Look for a record that nobody announced: another job may have left an INTENT. */
  | { type: "poll" }
  /** This rank has transactions to propose: a full block, or one that waited blockDelay. */
  | { type: "demand" }
  /** Own proposal of `round` is mined and lies in the incoming queue. */
  | { type: "mined"; round: number; hash: string }
  /** A member says that this round is open. */
  | { type: "ring"; round: number }
  /** An authentic proposal arrived; its anchor is known. */
  | { type: "proposal"; round: number; rank: number; hash: string }
  | { type: "validated"; round: number; rank: number; hash: string; verdict: Verdict }
  | { type: "votes"; votes: readonly Vote[] }
  | { type: "pull"; from: number; pull: Pull }
  | { type: "decided"; decided: Decided }
  /** Own append succeeded: the record is synced and linked. */
  | { type: "linked"; slot: number; hash: string }
  /** A record was found in the log, by losing a link or by reading. */
  | { type: "record"; record: RecordSummary }
  /** Reading found no child of the head; `failed`: storage could not tell whether there is one. */
  | { type: "no-record"; slot: number; failed?: boolean }
  /** Own append lost the slot to another record, handed over as `record` if it is the next one. */
  | { type: "link-lost"; slot: number }
  /** The append failed for a reason of the storage: nothing was linked as far as known. */
  | { type: "link-failed"; slot: number }
  /** All members that this rank believes dead or silent, each time the set changes. */
  | { type: "suspects"; ranks: readonly number[] }
  /** Checkpoint C3: an exception in validation or the like. */
  | { type: "alert" }
  /** This rank is to author a SEAL: without `evict`, with the incarnations `admit` (hex). */
  | { type: "change"; evict: readonly number[]; admit: readonly string[] }
  | { type: "seal-pull"; from: number; pull: SealPull }
  | { type: "seal-answer"; from: number; answer: SealAnswer };

export type Effect =
  /** Form, hash and mine blocks for `round` from what waits. */
  | { type: "mine"; round: number }
  /** Send own proposal of `round` to all members. */
  | { type: "propose"; round: number }
  /** Check the blocks of this proposal; answer with `validated`. */
  | { type: "validate"; round: number; rank: number; hash: string }
  /** Hand own vote to the collective of its lane. */
  | { type: "vote"; vote: Vote }
  /** The round was settled before this rank voted: its lane must go on all the same. */
  | { type: "skip-vote"; round: number }
  /** Send own vote, opened, to one member. */
  | { type: "send-vote"; to: number; vote: Vote }
  | { type: "send-pull"; to: readonly number[]; pull: Pull }
  | { type: "send-body"; to: number; round: number; name: ProposalName }
  /** This copy was found bad where others found theirs good: away with it, another is pulled. */
  | { type: "discard"; round: number; name: ProposalName }
  | { type: "send-decided"; to: number | "all"; decided: Decided }
  /** A proposal has w yes-votes: its inclusion is promised. */
  | { type: "agreed"; round: number; name: ProposalName }
  | { type: "send-seal-pull"; to: readonly number[]; pull: SealPull }
  | { type: "send-seal-answer"; to: number; answer: SealAnswer }
  /** Append this record after the head. */
  | LinkEffect
  /** Read the child of the head; answer with `record` or `no-record`. */
  | { type: "read"; slot: number; prevHash: string }
  /** The record is final: execute what it includes, in this order. */
  | {
      type: "finalize";
      slot: number;
      hash: string;
      rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>;
    }
  /** Own proposal of `round` is not in the log and never will be: its transactions wait again. */
  | { type: "returned"; round: number; rejected: boolean }
  /** The epoch ended with this record, own or read. The core is finished: no step does anything. */
  | { type: "sealed"; slot: number; hash: string }
  /** This rank can no longer trust itself: stop with this sentence. */
  | { type: "halt"; code: string; reason: string };

/** What a record is to hold. */
export type RecordDraft =
  | {
      readonly kind: "QUORUM" | "STORAGE" | "NOOP";
      /** Rounds that the record settles: none in a NOOP and an INTENT, perhaps none in a SEAL. */
      readonly settlement: readonly RoundSettlement[];
    }
  | {
      readonly kind: "SEAL";
      readonly settlement: readonly RoundSettlement[];
      /** Members whose answers it settles by, ascending. */
      readonly answers: readonly number[];
      /** Members of this epoch that the next one is without, ascending. */
      readonly evict: readonly number[];
      /** Incarnations (hex) that are members of the next one in addition. */
      readonly admit: readonly string[];
    }
  | {
      readonly kind: "INTENT";
      readonly settlement: readonly RoundSettlement[];
      /** Members that answered its author, itself included, ascending. */
      readonly answered: readonly number[];
      readonly deadlineMs: number;
    };

export type LinkEffect = RecordDraft & {
  readonly type: "link";
  readonly slot: number;
  readonly prevHash: string;
};
