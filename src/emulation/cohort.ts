/**
 * A cohort: ranks that see the same inputs at the same times. One real core, that of its
 * representative, judges for all of them. Where one of them has to do something by itself (record a
 * round, author a SEAL) its own core is made from the cohort's inputs since the last settled round:
 * the core is a function of its inputs, so it is as if it had run all along.
 */
import { assert } from "../base/assert.ts";
import type { HyBEOptions } from "../consensus/ballot.ts";
import { ANSWER, type Effect, type Input, type Vote } from "../consensus/effects.ts";
import { HyBE } from "../consensus/hybe.ts";
import { voteDigest } from "../consensus/vote.ts";
import type { Batch } from "./load.ts";
import { effectsName, proposalName } from "./names.ts";

/** What reaches every rank of a cohort; each makes of it what concerns itself. */
export type Feed =
  | { readonly at: number; readonly kind: "input"; readonly round: number; readonly input: Input }
  /** Own proposal of each. */
  | { readonly at: number; readonly kind: "mined"; readonly round: number }
  /** The proposals of `from`, found good. */
  | {
      readonly at: number;
      readonly kind: "proposals";
      readonly round: number;
      readonly from: readonly number[];
    };

/** Of inputs that are not about a round: they are kept. */
export const NO_ROUND = Number.POSITIVE_INFINITY;

/** One rank's core. */
export class Judge {
  readonly member: number;
  readonly core: HyBE;
  readonly cohort: Cohort;

  constructor(cohort: Cohort, member: number, options: Omit<HyBEOptions, "epoch">) {
    const { ranks, winVotes, answersMin } = cohort.quorum;
    this.cohort = cohort;
    this.member = member;
    this.core = new HyBE({ ...options, epoch: { self: member, ranks, winVotes, answersMin } });
    this.core.executed(options.head.slot, effectsName(options.head.slot));
  }

  step(input: Input, now: number): Effect[] {
    return this.core.step(input, now);
  }

  take(feed: Feed): Effect[] {
    const { core, cohort, member } = this;
    const { at, round } = feed;
    if (feed.kind === "input") return core.step(feed.input, at);
    if (feed.kind === "mined")
      return core.step({ type: "mined", round, hash: cohort.nameOf(member, round) }, at);
    const out: Effect[] = [];
    const add = (effects: Effect[]) => {
      for (const effect of effects) if (effect.type !== "validate") out.push(effect);
    };
    for (const rank of feed.from) {
      if (rank === member) continue;
      const hash = cohort.nameOf(rank, round);
      add(core.step({ type: "proposal", round, rank, hash }, at));
      add(core.step({ type: "validated", round, rank, hash, verdict: "yes" }, at));
    }
    return out;
  }
}

export interface Quorum {
  readonly ranks: number;
  readonly winVotes: number;
  readonly answersMin: number;
}

export class Cohort {
  readonly name: string;
  /** Member indices of the epoch that live, ascending. */
  members: readonly number[];
  readonly quorum: Quorum;
  /** What these ranks send leaves so much later than others'. */
  readonly delayMs: number;
  readonly judge: Judge;
  /** Transactions of its ranks, by the round that they were proposed in. */
  readonly batches = new Map<
    number,
    { batches: readonly Batch[]; count: number; blocks: number }
  >();
  readonly agreedAt = new Map<number, number>();
  /** Votes of the representative in rounds that are not settled. */
  readonly votes = new Map<number, Vote>();
  building = false;
  /** Newest round that it takes part in. */
  opened = 0;
  sealed = false;
  private readonly ids: readonly number[];
  private readonly feeds: Feed[] = [];

  constructor(
    parts: {
      readonly name: string;
      readonly members: readonly number[];
      readonly quorum: Quorum;
      readonly delayMs: number;
      /** The rank of the job that each member is: it keeps it over epochs. */
      readonly ids: readonly number[];
    },
    options: Omit<HyBEOptions, "epoch">,
  ) {
    assert(parts.members.length > 0, "a cohort has a member");
    this.name = parts.name;
    this.members = parts.members;
    this.quorum = parts.quorum;
    this.delayMs = parts.delayMs;
    this.ids = parts.ids;
    // The lowest members author SEALs and the highest die first: another one stands for all.
    this.judge = new Judge(this, parts.members[Math.min(1, parts.members.length - 1)], options);
  }

  get size(): number {
    return this.members.length;
  }

  has(member: number): boolean {
    let [low, high] = [0, this.members.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.members[middle] < member) low = middle + 1;
      else high = middle;
    }
    return this.members[low] === member;
  }

  idOf(member: number): number {
    return this.ids[member];
  }

  /** These are dead. */
  lose(dead: ReadonlySet<number>): void {
    this.members = this.members.filter((member) => !dead.has(member));
    assert(this.members.includes(this.judge.member), "who stands for all lives");
  }

  nameOf(member: number, round: number): string {
    return proposalName(this.ids[member], round);
  }

  /** Every rank of it takes this; answers what the representative makes of it. */
  take(feed: Feed): Effect[] {
    this.feeds.push(feed);
    return this.judge.take(feed);
  }

  /** Every rank of it has something to propose; the round that opens is the one it is kept for. */
  demand(at: number): Effect[] {
    const input: Input = { type: "demand" };
    const effects = this.judge.step(input, at);
    const mine = effects.find((effect) => effect.type === "mine");
    if (mine !== undefined) this.feeds.push({ at, kind: "input", round: mine.round, input });
    return effects;
  }

  /** What was settled is not needed to make another judge. */
  forget(settled: number): void {
    const kept = this.feeds.filter(({ round }) => round > settled);
    this.feeds.length = 0;
    this.feeds.push(...kept);
    for (const map of [this.agreedAt, this.votes])
      for (const round of map.keys()) if (round <= settled) map.delete(round);
  }

  /**
   * The core of another member as it stands `now`, and what it does beside what all of the cohort
   * do. `options` are of the representative's head.
   */
  judgeOf(
    member: number,
    options: Omit<HyBEOptions, "epoch">,
    now: number,
  ): { judge: Judge; effects: Effect[] } {
    const judge = new Judge(this, member, options);
    const effects: Effect[] = [];
    for (const feed of this.feeds) {
      for (let due = judge.core.nextDeadline(); due < feed.at; due = judge.core.nextDeadline())
        effects.push(...judge.step({ type: "tick" }, due));
      effects.push(...judge.take(feed));
    }
    effects.push(...judge.step({ type: "tick" }, now));
    return { judge, effects };
  }

  /** The vote of a member: that of the representative, with the two ranks changed about. */
  voteOf(vote: Vote, member: number): Vote {
    const { member: own } = this.judge;
    if (member === own) return vote;
    if (this.isEven(vote)) return { ...vote, rank: member };
    const answers = vote.answers.slice();
    const hashes = [...vote.hashes!];
    answers[own] = vote.answers[member];
    answers[member] = vote.answers[own];
    hashes[own] = answers[own] === ANSWER.none ? "" : this.nameOf(own, vote.round);
    hashes[member] = answers[member] === ANSWER.none ? "" : this.nameOf(member, vote.round);
    const digest = voteDigest(vote.round, answers, hashes);
    return { ...vote, rank: member, answers, hashes, digest };
  }

  private evenVote: Vote | undefined;
  private even = false;

  /** True when the vote says the same of every member of the cohort. */
  private isEven(vote: Vote): boolean {
    if (this.evenVote !== vote) {
      this.evenVote = vote;
      const own = vote.answers[this.judge.member];
      this.even = this.members.every((member) => vote.answers[member] === own);
    }
    return this.even;
  }
}
