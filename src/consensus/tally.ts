/**
 * The tally of a round: how many yes and no each proposal has among the opened votes. In all but
 * exceptional rounds nearly all votes are equal, so equal votes are counted as one ballot, and
 * proposals that every ballot treats alike share one count: a further vote of a known ballot costs
 * a few additions however many members there are. Pure.
 */
import { ANSWER, type EpochView, type ProposalName, type Vote } from "./effects.ts";
import { type Standing, standingOf } from "./vote.ts";

export interface Candidate extends ProposalName {
  /** Shared with all candidates that the votes so far treat alike. */
  count: Count;
}

class Count {
  yes: number;
  no: number;
  candidates: Candidate[];
  /** Its candidates were named by `newlyWon`. */
  told: boolean;
  /** What `everyPossible` found of its candidates. */
  every: boolean | undefined;

  constructor(candidates: Candidate[], like?: Count) {
    this.candidates = candidates;
    this.yes = like?.yes ?? 0;
    this.no = like?.no ?? 0;
    this.told = like?.told ?? false;
    for (const candidate of candidates) candidate.count = this;
  }
}

/** Votes with one digest: they answer alike. */
interface Ballot {
  yes: Count[];
  no: Count[];
}

export class Tally {
  private readonly epoch: EpochView;
  /** Each rank's proposals in the order first named. */
  private readonly named: (Candidate[] | undefined)[];
  private readonly ballots = new Map<string, Ballot>();
  private readonly counts: Count[] = [];
  /** Votes counted. */
  votes = 0;

  constructor(epoch: EpochView) {
    this.epoch = epoch;
    this.named = new Array(epoch.ranks).fill(undefined);
  }

  /** Adds the answers of one opened vote. */
  add(vote: Vote): void {
    if (vote.hashes === undefined) return;
    this.votes++;
    const known = this.ballots.get(vote.digest);
    const ballot = known ?? this.newBallot(vote.answers, vote.hashes);
    if (known === undefined) this.ballots.set(vote.digest, ballot);
    for (const count of ballot.yes) count.yes++;
    for (const count of ballot.no) count.no++;
  }

  /** Candidates that this ballot parts from others of their count get one of their own. */
  private newBallot(answers: Uint8Array, hashes: readonly string[]): Ballot {
    const parts = new Map<Count, { yes: Candidate[]; no: Candidate[] }>();
    const fresh = new Count([]);
    for (let rank = 0; rank < answers.length; rank++) {
      const answer = answers[rank];
      if (answer === ANSWER.none) continue;
      const candidate = this.candidate(rank, hashes[rank], fresh);
      let part = parts.get(candidate.count);
      if (part === undefined) parts.set(candidate.count, (part = { yes: [], no: [] }));
      if (answer === ANSWER.yes) part.yes.push(candidate);
      else part.no.push(candidate);
    }
    if (fresh.candidates.length > 0) this.counts.push(fresh);
    const ballot: Ballot = { yes: [], no: [] };
    for (const [count, { yes, no }] of parts) {
      if (yes.length > 0) ballot.yes.push(this.part(count, yes));
      if (no.length > 0) ballot.no.push(this.part(count, no));
    }
    return ballot;
  }

  private candidate(rank: number, hash: string, fresh: Count): Candidate {
    const ofRank = (this.named[rank] ??= []);
    for (const known of ofRank) if (known.hash === hash) return known;
    const candidate = { rank, hash, count: fresh };
    fresh.candidates.push(candidate);
    ofRank.push(candidate);
    return candidate;
  }

  /** The count of `some` of the candidates of `count`: it itself where these are all. */
  private part(count: Count, some: Candidate[]): Count {
    if (some.length === count.candidates.length) return count;
    const part = new Count(some, count);
    count.candidates = count.candidates.filter((candidate) => candidate.count === count);
    count.every = undefined;
    this.counts.push(part);
    // Earlier ballots treated them alike.
    for (const ballot of this.ballots.values()) {
      if (ballot.yes.includes(count)) ballot.yes.push(part);
      if (ballot.no.includes(count)) ballot.no.push(part);
    }
    return part;
  }

  private standing({ yes }: { readonly yes: number }): Standing {
    return standingOf(yes, this.votes, this.epoch);
  }

  /** Every hash that a counted vote names is won or lost. */
  decided(): boolean {
    return this.counts.every((count) => this.standing(count) !== "pending");
  }

  /** What has won and was not named here before. */
  newlyWon(): ProposalName[] {
    const isNew = (count: Count) => count.yes >= this.epoch.winVotes && !count.told;
    const won = this.counts.filter(isNew);
    if (won.length === 0) return [];
    const names = this.select((candidate) => isNew(candidate.count));
    for (const count of won) count.told = true;
    return names;
  }

  /** Names by rank, of one rank in the order first named. */
  select(which: (candidate: Candidate) => boolean): ProposalName[] {
    const names: ProposalName[] = [];
    for (const ofRank of this.named) {
      if (ofRank === undefined) continue;
      for (const candidate of ofRank)
        if (which(candidate)) names.push({ rank: candidate.rank, hash: candidate.hash });
    }
    return names;
  }

  /** Won by w yes. */
  won(): ProposalName[] {
    return this.select(({ count }) => this.standing(count) === "won");
  }

  /** Every hash with a yes that is not known to be lost; one of them may be agreed. */
  possible(): ProposalName[] {
    return this.select(({ count }) => this.isPossible(count));
  }

  /** True when `is` holds of each possible name; remembered until `changed`. */
  everyPossible(is: (name: ProposalName) => boolean): boolean {
    return this.counts.every((count) => {
      if (!this.isPossible(count)) return true;
      count.every ??= count.candidates.every(is);
      return count.every;
    });
  }

  /** What `everyPossible` asked may have another answer now. */
  changed(): void {
    for (const count of this.counts) count.every = undefined;
  }

  private isPossible(count: Count): boolean {
    return count.yes > 0 && this.standing(count) !== "lost";
  }

  /** Votes name it. */
  names(rank: number, hash: string): boolean {
    return this.find(rank, hash) !== undefined;
  }

  noVotes(rank: number, hash: string): number {
    return this.find(rank, hash)?.count.no ?? 0;
  }

  private find(rank: number, hash: string): Candidate | undefined {
    return this.named[rank]?.find((candidate) => candidate.hash === hash);
  }
}
