/**
 * Ranks die: from some round on they neither send nor answer. The others learn of it after a while
 * (the fault monitor's process watch), the lowest member seals the epoch without them, and the rest
 * go on in a new one, at first without collectives.
 */
import { assert } from "../base/assert.ts";
import type { Effect, Input, SealAnswer } from "../consensus/effects.ts";
import { answersMin, winVotes } from "../ledger/judge.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { Cohort, type Feed, type Judge, NO_ROUND } from "./cohort.ts";
import { openedVoteBytes } from "./sizes.ts";
import { coreOptions, type Epoch, schedule, type World } from "./world.ts";

export interface FailureHooks {
  feed(cohort: Cohort, feed: Feed): void;
  feedAlone(judge: Judge, input: Input): void;
  /** The core of one member, watched from now on. */
  standIn(cohort: Cohort, member: number): Judge;
  giveUpGathering(): void;
}

export class Failures {
  private readonly world: World;
  private readonly hooks: FailureHooks;
  private readonly pending: { ranks: number; round: number }[];
  private author: Judge | undefined;

  constructor(world: World, hooks: FailureHooks) {
    this.world = world;
    this.hooks = hooks;
    this.pending = [...world.options.kills].sort((a, b) => a.round - b.round);
  }

  /** A round is opened: some may be dead from it on. */
  opened(round: number): void {
    const next = this.pending[0];
    if (next === undefined || round < next.round) return;
    this.pending.shift();
    const { epoch, options, clock } = this.world;
    const { detectMs, gatherMs } = options.model.membership;
    const cohort = epoch.cohorts[0];
    const dying = cohort.members.slice(cohort.size - next.ranks);
    for (const member of dying) epoch.dead.add(member);
    this.bury(cohort, new Set(dying));
    schedule(this.world, clock.now() + detectMs, () => this.suspect());
    schedule(this.world, clock.now() + detectMs + gatherMs, () => this.seal());
  }

  /** The representative and all it stands for go on without the dead. */
  private bury(cohort: Cohort, dead: ReadonlySet<number>): void {
    cohort.lose(dead);
  }

  private suspect(): void {
    const { epoch, clock } = this.world;
    epoch.suspected = true;
    const input: Input = { type: "suspects", ranks: [...epoch.dead] };
    for (const cohort of epoch.cohorts)
      this.hooks.feed(cohort, { at: clock.now(), kind: "input", round: NO_ROUND, input });
    this.hooks.giveUpGathering();
  }

  private seal(): void {
    const { epoch } = this.world;
    const cohort = epoch.cohorts.reduce((a, b) => (a.members[0] < b.members[0] ? a : b));
    const author = this.hooks.standIn(cohort, cohort.members[0]);
    this.author = author;
    this.hooks.feedAlone(author, { type: "change", evict: [...epoch.dead], admit: [] });
  }

  /** Every member that lives is asked for its answer, and frozen by it. */
  pullSeal(from: Judge, { to, pull }: Extract<Effect, { type: "send-seal-pull" }>): void {
    const { clock, resources, measures, epoch } = this.world;
    const traffic = { messages: to.length, bytes: 64 * to.length, steps: 1, busiest: to.length };
    measures.sent(traffic, 1 / epoch.ranks);
    schedule(this.world, clock.now() + resources.wire(traffic), () => {
      const input: Input = { type: "seal-pull", from: from.member, pull };
      for (const cohort of epoch.cohorts)
        this.hooks.feed(cohort, { at: clock.now(), kind: "input", round: NO_ROUND, input });
    });
  }

  /** The answer of each member of a cohort goes to the author. */
  answerSeal(cohort: Cohort, answer: SealAnswer): void {
    const { clock, resources, measures, epoch, options } = this.world;
    const { author } = this;
    if (author === undefined) return;
    const bytes = answer.votes.reduce((sum, vote) => sum + openedVoteBytes(vote), 64);
    const { size } = cohort;
    measures.sent({ messages: size, bytes: size * bytes, steps: 1, busiest: 1 }, 1 / epoch.ranks);
    const arrives =
      clock.now() + resources.wire({ messages: 1, bytes: size * bytes, steps: 1, busiest: 1 });
    const { messageUs, voteUs } = options.model.cpu;
    const ms = (size * (messageUs + voteUs * answer.votes.length)) / 1000;
    const at = resources.computeAlone(arrives, "consensus", ms, epoch.ranks);
    schedule(this.world, at, () => {
      for (const member of cohort.members) {
        if (member === author.member) continue;
        const votes = answer.votes.map((vote) => cohort.voteOf(vote, member));
        const own: SealAnswer = { ...answer, rank: member, votes };
        this.hooks.feedAlone(author, { type: "seal-answer", from: member, answer: own });
      }
    });
  }

  /** The epoch that follows, once all that live have seen its SEAL. */
  nextEpoch(settled: number): Epoch {
    const { epoch, log } = this.world;
    this.author = undefined;
    epoch.over = true;
    const living = epoch.cohorts.flatMap(({ members }) => members).sort((a, b) => a - b);
    const place = new Map(living.map((member, index) => [member, index]));
    const head = { ...log.head };
    const quorum = quorumOf(living.length);
    const cohorts = epoch.cohorts.map(
      (old) =>
        new Cohort(
          {
            ...{ name: old.name, quorum, delayMs: old.delayMs },
            members: old.members.map((member) => place.get(member)!),
            ids: living.map((member) => epoch.cohorts[0].idOf(member)),
          },
          coreOptions(this.world, { head, settled }),
        ),
    );
    assert(cohorts.length > 0, "somebody lives");
    return {
      ...{ number: epoch.number + 1, ranks: living.length, cohorts },
      ...{ dead: new Set<number>(), suspected: false, alone: new Set<Judge>(), over: false },
      // As src/rank/lanes.ts has it: all have fresh lanes, and nobody is in that round yet.
      lanesFrom: settled + UNRECORDED_ROUNDS_MAX + 1,
    };
  }
}

export function quorumOf(ranks: number) {
  return { ranks, winVotes: winVotes(ranks), answersMin: answersMin(ranks) };
}
