/**
 * What one rank knows of one open round. Data and questions about it; `hybe.ts` decides. Votes are
 * counted once, when they are opened (tally.ts): no step tallies anew, and none looks at all members
 * where a count will do.
 */

import {
  ANSWER,
  type EpochView,
  type ProposalName,
  type RoundSettlement,
  type Verdict,
  type Vote,
} from "./effects.ts";
import { Tally } from "./tally.ts";
import { opensVote, voteDigest } from "./vote.ts";

interface Held {
  readonly rank: number;
  readonly hash: string;
  /** Undefined while the validation runs. */
  verdict: Verdict | undefined;
}

export type BodyState = "absent" | "judging" | Verdict;

export class Round {
  readonly round: number;
  readonly openedAt: number;
  /** Times its deadlines. */
  readonly patience: number;
  private readonly epoch: EpochView;
  /** First proposal seen of each rank: the only one that this rank votes on. */
  private readonly held: (Held | undefined)[];
  /** Further proposals of a rank, kept because votes name them: an equivocator's. */
  private readonly heldToo: Held[] = [];
  readonly votes: (Vote | undefined)[];
  private readonly tally: Tally;
  private judgedRanks = 0;
  /** Opened votes by digest: equal votes are opened by the first of them. */
  private readonly openedBy = new Map<string, Vote>();
  /** The vote that could last not be opened with what is held: its like cannot be, either. */
  private closedLike: Vote | undefined;
  /** Answers found equal last. */
  private alike: readonly [Uint8Array?, Uint8Array?] = [];
  /** How many votes have come. */
  received = 0;
  ownVote: Vote | undefined;
  votedAt = Number.NaN;
  /** Step 6: R opened votes, and every hash that they name won or lost. Never undone. */
  closedAt = Number.NaN;
  votesPulledAt = Number.NEGATIVE_INFINITY;
  bodiesPulledAt = Number.NEGATIVE_INFINITY;
  bodyPulls = 0;
  /** Set when this rank, as storage validator, has asked everybody (step 8). */
  askedAt = Number.NaN;

  constructor(round: number, openedAt: number, epoch: EpochView, patience = 1) {
    this.round = round;
    this.openedAt = openedAt;
    this.patience = patience;
    this.epoch = epoch;
    this.held = new Array(epoch.ranks).fill(undefined);
    this.votes = new Array(epoch.ranks).fill(undefined);
    this.tally = new Tally(epoch);
  }

  /** How many votes are opened: only these count. */
  get opened(): number {
    return this.tally.votes;
  }
  get voted(): boolean {
    return this.ownVote !== undefined;
  }
  get closed(): boolean {
    return !Number.isNaN(this.closedAt);
  }
  get asked(): boolean {
    return !Number.isNaN(this.askedAt);
  }

  // Proposals.

  /** True when it is new here and worth judging: a rank's first, or another that votes name. */
  hold(rank: number, hash: string): boolean {
    if (this.find(rank, hash) !== undefined) return false;
    const held: Held = { rank, hash, verdict: undefined };
    if (this.held[rank] === undefined) {
      this.held[rank] = held;
      this.changed();
      this.openVotes(rank);
    } else {
      if (!this.tally.names(rank, hash)) return false;
      this.heldToo.push(held);
      this.changed();
    }
    return true;
  }

  judge(rank: number, hash: string, verdict: Verdict): void {
    const held = this.find(rank, hash);
    if (held === undefined || held.verdict !== undefined) return;
    held.verdict = verdict;
    if (held === this.held[rank]) this.judgedRanks++;
    this.changed();
  }

  private find(rank: number, hash: string): Held | undefined {
    const first = this.held[rank];
    if (first?.hash === hash) return first;
    return this.heldToo.find((held) => held.rank === rank && held.hash === hash);
  }

  /** The body is here and found good: it can be executed, recorded and handed on. */
  holds({ rank, hash }: ProposalName): boolean {
    return this.find(rank, hash)?.verdict === "yes";
  }

  /** This rank abstained on a body that a record may have to include. */
  abstained(): boolean {
    return this.possible().some((name) => this.bodyState(name) === "abstain");
  }

  /** This rank's vote says nothing of that member's proposal. */
  abstainedOn(rank: number): boolean {
    return this.ownVote !== undefined && this.ownVote.answers[rank] === ANSWER.none;
  }

  /** Where the body of it stands here. */
  bodyState({ rank, hash }: ProposalName): BodyState {
    const held = this.find(rank, hash);
    return held === undefined ? "absent" : (held.verdict ?? "judging");
  }

  /** The verdict on it is withdrawn: it is judged once more. */
  judgeAgain({ rank, hash }: ProposalName): void {
    const held = this.find(rank, hash);
    if (held?.verdict === undefined) return;
    held.verdict = undefined;
    if (held === this.held[rank]) this.judgedRanks--;
    this.changed();
  }

  /** This copy is no longer here. */
  discard({ rank, hash }: ProposalName): void {
    const first = this.held[rank];
    if (first?.hash === hash) {
      if (first.verdict !== undefined) this.judgedRanks--;
      this.held[rank] = undefined;
    }
    const index = this.heldToo.findIndex((held) => held.rank === rank && held.hash === hash);
    if (index >= 0) this.heldToo.splice(index, 1);
    this.changed();
  }

  /** The proposal of every member that is waited for has arrived and is judged. */
  complete(suspects: ReadonlySet<number>): boolean {
    const has = (rank: number) => this.held[rank]?.verdict !== undefined;
    return this.everyOther(this.judgedRanks, suspects, has);
  }

  /** Of all members `count` have it: every one of those that lack it is suspected. */
  private everyOther(
    count: number,
    suspects: ReadonlySet<number>,
    has: (rank: number) => boolean,
  ): boolean {
    let lacking = this.epoch.ranks - count;
    if (lacking > suspects.size) return false;
    for (const rank of suspects) if (!has(rank)) lacking--;
    return lacking === 0;
  }

  /** The bodies of all that the record may have to include are here and good. */
  bodiesGood(): boolean {
    return this.tally.everyPossible((name) => this.holds(name));
  }

  private changed(): void {
    this.tally.changed();
    this.closedLike = undefined;
  }

  // Votes.

  /** The vote that this rank casts with what it holds now. */
  formVote(effects: { slot: number; digest: string }): Vote {
    const answers = new Uint8Array(this.held.length);
    const hashes = this.held.map((held, rank) => {
      if (held?.verdict === undefined || held.verdict === "abstain") return "";
      answers[rank] = held.verdict === "yes" ? ANSWER.yes : ANSWER.no;
      return held.hash;
    });
    return {
      round: this.round,
      rank: this.epoch.self,
      answers,
      digest: voteDigest(this.round, answers, hashes),
      effectsSlot: effects.slot,
      effectsDigest: effects.digest,
      hashes,
    };
  }

  /** Keeps the first vote of a member; a later copy may only add the hashes that open it. */
  addVote(vote: Vote): void {
    let kept = this.votes[vote.rank];
    if (kept === undefined) {
      this.votes[vote.rank] = kept = { ...vote, hashes: undefined };
      this.received++;
    }
    if (kept.hashes !== undefined || kept.digest !== vote.digest) return;
    const like = this.openedLike(kept);
    if (like !== undefined) this.open(kept, like);
    else if (vote.hashes !== undefined && opensVote(kept, vote.hashes))
      this.open(kept, vote.hashes);
    else this.openWithHeld(kept);
  }

  private open(vote: Vote, hashes: readonly string[]): void {
    vote.hashes = hashes;
    this.openedBy.set(vote.digest, vote);
    this.tally.add(vote);
  }

  /** Whoever holds the same hashes has the same digest: most votes are opened by another one. */
  private openedLike(vote: Vote): readonly string[] | undefined {
    const { ownVote } = this;
    const other = ownVote?.digest === vote.digest ? ownVote : this.openedBy.get(vote.digest);
    return other !== undefined && this.sameAnswers(other, vote) ? other.hashes : undefined;
  }

  /** Equal votes may share their answers: then they are compared once. */
  private sameAnswers({ answers: own }: Vote, { answers: other }: Vote): boolean {
    if (own === other) return true;
    if (own === this.alike[0] && other === this.alike[1]) return true;
    for (let i = 0; i < own.length; i++) if (own[i] !== other[i]) return false;
    this.alike = [own, other];
    return true;
  }

  private openWithHeld(vote: Vote): void {
    const { closedLike } = this;
    if (closedLike?.digest === vote.digest && this.sameAnswers(closedLike, vote)) return;
    this.closedLike = vote;
    const hashes: string[] = [];
    for (const [rank, held] of this.held.entries()) {
      if (vote.answers[rank] === ANSWER.none) hashes.push("");
      else if (held === undefined)
        return; // pulled if it is needed
      else hashes.push(held.hash);
    }
    if (opensVote(vote, hashes)) this.open(vote, hashes);
  }

  /** The first proposal of `rank` has come: it may explain votes that name it. */
  private openVotes(rank: number): void {
    if (this.received === this.opened) return;
    for (const vote of this.votes) {
      if (vote === undefined || vote.hashes !== undefined) continue;
      if (vote.answers[rank] === ANSWER.none) continue;
      const like = this.openedLike(vote);
      if (like !== undefined) this.open(vote, like);
      else this.openWithHeld(vote);
    }
  }

  /** The vote of every member that is waited for has come: nothing else is on its way. */
  heardAll(suspects: ReadonlySet<number>): boolean {
    return this.everyOther(this.received, suspects, (rank) => this.votes[rank] !== undefined);
  }

  /** Nobody that is waited for could make the tally truer. */
  openedAll(suspects: ReadonlySet<number>): boolean {
    const has = (rank: number) => this.votes[rank]?.hashes !== undefined;
    return this.everyOther(this.opened, suspects, has);
  }

  openedVotes(): Vote[] {
    return this.votes.filter((vote): vote is Vote => vote?.hashes !== undefined);
  }

  /** Who said yes to it, as far as known here. */
  yesVoters({ rank, hash }: ProposalName): number[] {
    const yes = this.openedVotes().filter(
      (vote) => vote.answers[rank] === ANSWER.yes && vote.hashes?.[rank] === hash,
    );
    return yes.map((vote) => vote.rank);
  }

  // Tally.

  /** Step 6: opened votes from R members, and every hash that they name won or lost. */
  mayClose(): boolean {
    return this.opened >= this.epoch.answersMin && this.tally.decided();
  }

  /** What has won and was not told of before. */
  newlyWon(): ProposalName[] {
    return this.tally.newlyWon();
  }

  won(): ProposalName[] {
    return this.tally.won();
  }

  /** Step 8: every hash with a yes that is not known to be lost; one of them may be agreed. */
  possible(): ProposalName[] {
    return this.tally.possible();
  }

  /**
   * Step 8: what may have been agreed can be recorded. A yes counts as an answer only with its body
   * here and found good, and a record includes one proposal a rank. Leaving out the answers that
   * do not fit never helps: as w + R = N + 1, whenever R others are left the hash is lost already.
   */
  possibleFit(): boolean {
    const names = this.possible();
    const ranks = new Set(names.map(({ rank }) => rank));
    return ranks.size === names.length && this.bodiesGood();
  }

  /** With these in the record, everything else that a vote names is lost. */
  settle(included: readonly ProposalName[]): RoundSettlement {
    const hashes = new Set(included.map(({ hash }) => hash));
    const lost = this.tally.select(({ hash }) => !hashes.has(hash));
    return { round: this.round, included, lost, votes: this.openedVotes() };
  }

  noVotes(rank: number, hash: string): number {
    return this.tally.noVotes(rank, hash);
  }
}
