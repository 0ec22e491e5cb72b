/**
 * What one rank knows of one open round. Plain data and questions about it; `hybe.ts` decides.
 */
import { ANSWER, type EpochView, type ProposalName, type Verdict, type Vote } from "./effects.ts";
import { type Candidate, opensVote, openedCount, tally, voteDigest } from "./vote.ts";

interface Held {
  hash: string;
  /** Undefined while the validation runs. */
  verdict: Verdict | undefined;
}

export class Round {
  readonly round: number;
  readonly openedAt: number;
  /** First proposal seen of each rank: an equivocating one is only ever judged by its first. */
  readonly held: (Held | undefined)[];
  readonly votes: (Vote | undefined)[];
  ownHash: string | undefined;
  ownVote: Vote | undefined;
  votedAt = Number.NaN;
  closedAt = Number.NaN;
  candidates: readonly Candidate[] = [];
  lastPullAt = Number.NEGATIVE_INFINITY;
  /** Set when this rank, as storage validator, has asked everybody (step 8). */
  askedAt = Number.NaN;
  readonly agreedTold = new Set<string>();

  constructor(round: number, openedAt: number, epoch: EpochView) {
    this.round = round;
    this.openedAt = openedAt;
    this.held = new Array(epoch.ranks).fill(undefined);
    this.votes = new Array(epoch.ranks).fill(undefined);
  }

  /** Every member's proposal has arrived and is judged. */
  complete(): boolean {
    return this.held.every((held) => held?.verdict !== undefined);
  }

  /** The vote that this rank casts with what it holds now. */
  formVote(self: number, effects: { slot: number; digest: string }): Vote {
    const answers = new Uint8Array(this.held.length);
    const hashes = this.held.map((held, rank) => {
      if (held?.verdict === undefined || held.verdict === "abstain") return "";
      answers[rank] = held.verdict === "yes" ? ANSWER.yes : ANSWER.no;
      return held.hash;
    });
    const digest = voteDigest(this.round, answers, hashes);
    return {
      round: this.round,
      rank: self,
      answers,
      digest,
      effectsSlot: effects.slot,
      effectsDigest: effects.digest,
      hashes,
    };
  }

  /** Keeps the first vote of a member; a later copy may only add the hashes that open it. */
  addVote(vote: Vote): void {
    const known = this.votes[vote.rank];
    if (known === undefined) this.votes[vote.rank] = { ...vote, hashes: undefined };
    const kept = this.votes[vote.rank]!;
    if (kept.digest !== vote.digest || kept.hashes !== undefined) return;
    if (vote.hashes !== undefined && opensVote(kept, vote.hashes)) kept.hashes = vote.hashes;
    else this.openWithHeld(kept);
  }

  /** Opens every vote that the proposals held here explain. */
  openVotes(): void {
    for (const vote of this.votes) if (vote && vote.hashes === undefined) this.openWithHeld(vote);
  }

  private openWithHeld(vote: Vote): void {
    // The common case first: everybody who holds what we voted on has our digest.
    const own = this.ownVote;
    if (own?.hashes !== undefined && own.digest === vote.digest) {
      vote.hashes = own.hashes;
      return;
    }
    const hashes = this.held.map((held, rank) =>
      vote.answers[rank] === ANSWER.none ? "" : (held?.hash ?? ""),
    );
    if (opensVote(vote, hashes)) vote.hashes = hashes;
  }

  count(epoch: EpochView): void {
    this.candidates = tally(this.votes, epoch);
  }

  opened(): number {
    return openedCount(this.votes);
  }

  /** Step 6: opened votes from R members, and every hash that they name won or lost. */
  mayClose(epoch: EpochView): boolean {
    return (
      this.opened() >= epoch.answersMin &&
      this.candidates.every(({ standing }) => standing !== "pending")
    );
  }

  won(): ProposalName[] {
    return this.candidates.filter(({ standing }) => standing === "won").map(nameOf);
  }

  /** Step 8: every hash with a yes that is not known to be lost; one of them may be agreed. */
  possible(): ProposalName[] {
    return this.candidates
      .filter(({ standing, yes }) => standing !== "lost" && yes > 0)
      .map(nameOf);
  }

  named(): ProposalName[] {
    return this.candidates.map(nameOf);
  }

  /** The body is here and judged: it can be executed and recorded. */
  holds({ rank, hash }: ProposalName): boolean {
    const held = this.held[rank];
    return held?.hash === hash && held.verdict !== undefined;
  }

  openedVotes(): Vote[] {
    return this.votes.filter((vote): vote is Vote => vote?.hashes !== undefined);
  }
}

function nameOf({ rank, hash }: Candidate): ProposalName {
  return { rank, hash };
}
