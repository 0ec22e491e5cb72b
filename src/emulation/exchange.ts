/**
 * How what the cores hand out reaches the others: proposals, votes, pulls and their answers, the
 * word of a record. Costs go by the dissemination in use; a collective that a dead member has to
 * take part in never completes, and what the core then asks for goes point-to-point.
 */
import type { Decided, Effect, Input, ProposalName, Pull, Vote } from "../consensus/effects.ts";
import type { Cohort, Feed, Judge } from "./cohort.ts";
import { everyToEvery, type Traffic } from "./dissemination.ts";
import {
  DECIDED_BYTES,
  laneVoteBytes,
  openedVoteBytes,
  PULL_BYTES,
  proposalBytes,
} from "./sizes.ts";
import { schedule, type World } from "./world.ts";

export interface ExchangeHooks {
  /** All of a cohort take it. */
  feed(cohort: Cohort, feed: Feed): void;
  /** One rank's own core takes it. */
  feedAlone(judge: Judge, input: Input): void;
  /** The votes of a round have reached this cohort. */
  voted(cohort: Cohort, round: number): void;
}

/** Who asks or tells: all of a cohort, or one rank. */
export interface Actor {
  readonly cohort: Cohort;
  readonly judge: Judge;
  readonly forAll: boolean;
}

export class Exchange {
  private readonly world: World;
  private readonly hooks: ExchangeHooks;
  /** Cohorts that have handed their part to the collective of a round. */
  private proposing = new Map<number, Set<Cohort>>();
  private voting = new Map<number, Set<Cohort>>();
  /** Agreed size of a proposal in the all-gather. */
  private slotBytes = 1024;

  constructor(world: World, hooks: ExchangeHooks) {
    this.world = world;
    this.hooks = hooks;
  }

  /** A new epoch: what went before has no receiver. */
  reset(): void {
    this.proposing = new Map();
    this.voting = new Map();
  }

  forget(settled: number): void {
    for (const parts of [this.proposing, this.voting])
      for (const round of parts.keys()) if (round <= settled) parts.delete(round);
  }

  private hasLanes(round: number): boolean {
    return round >= this.world.epoch.lanesFrom;
  }

  private completes(parts: Set<Cohort>): boolean {
    const { epoch } = this.world;
    return epoch.dead.size === 0 && parts.size === epoch.cohorts.length;
  }

  private partsOf(of: Map<number, Set<Cohort>>, round: number): Set<Cohort> {
    let parts = of.get(round);
    if (parts === undefined) of.set(round, (parts = new Set()));
    return parts;
  }

  // Proposals.

  propose(cohort: Cohort, round: number): void {
    const { clock, dissemination, epoch } = this.world;
    schedule(this.world, clock.now() + cohort.delayMs, () => {
      const gathers = dissemination.name === "gathered" && this.hasLanes(round);
      if (!gathers || epoch.suspected) return this.sendProposals([cohort], round, false);
      const parts = this.partsOf(this.proposing, round);
      parts.add(cohort);
      if (this.completes(parts)) this.sendProposals([...parts], round, true);
    });
  }

  /** A member that has to take part is dead: what waits for the collective goes point-to-point. */
  giveUpGathering(): void {
    for (const [round, parts] of this.proposing)
      for (const cohort of parts) this.sendProposals([cohort], round, false);
    this.proposing.clear();
  }

  private sendProposals(from: readonly Cohort[], round: number, gathers: boolean): void {
    const { clock, resources, measures, options, epoch, dissemination } = this.world;
    const { ranks } = epoch;
    const size = from.reduce((sum, { size: own }) => sum + own, 0);
    let [blocks, transactions] = [0, 0];
    for (const { batches } of from) {
      const own = batches.get(round);
      blocks += own?.blocks ?? 0;
      transactions += own?.count ?? 0;
    }
    const { transactionBytes } = options;
    const of = { blocks: blocks / size, transactions: transactions / size, transactionBytes };
    const bytes = proposalBytes(of);
    const most = proposalBytes({
      blocks: Math.ceil(of.blocks),
      transactions: Math.ceil(of.transactions),
      transactionBytes,
    });
    const { slotBytes } = this;
    const traffic = gathers
      ? dissemination.proposals(ranks, { bytes, slotBytes, larger: most > slotBytes ? 1 : 0 })
      : everyToEvery(ranks, bytes);
    // The next rounds agree on a slot that this one's proposals fit.
    while (gathers && this.slotBytes < most) this.slotBytes *= 2;
    const share = size / ranks;
    measures.sent(traffic, share);
    const { proposalUs, blockUs, transactionUs } = options.model.cpu;
    const handled = resources.compute(clock.now(), {
      messages: resources.handling(traffic) * share,
      consensus: (proposalUs * (ranks - 1) * share) / 1000,
      blocks: (blockUs * blocks) / 1000,
      transactions: (transactionUs * transactions) / 2000,
    });
    const at = Math.max(handled, clock.now() + resources.wire(scaled(traffic, share)));
    const members = from.map((cohort) => cohort.members);
    schedule(this.world, at, () => {
      for (const cohort of epoch.cohorts)
        for (const those of members)
          this.hooks.feed(cohort, { at: clock.now(), kind: "proposals", round, from: those });
    });
  }

  // Votes.

  vote(cohort: Cohort, vote: Vote): void {
    const { clock } = this.world;
    cohort.votes.set(vote.round, vote);
    schedule(this.world, clock.now() + cohort.delayMs, () => {
      if (this.hasLanes(vote.round)) this.takePart(cohort, vote.round);
      else this.sendVotes([cohort], vote.round, false);
    });
  }

  /** The round was settled before these ranks voted: the lane goes on with nothing of theirs. */
  skipVote(cohort: Cohort, round: number): void {
    if (this.hasLanes(round)) this.takePart(cohort, round);
  }

  private takePart(cohort: Cohort, round: number): void {
    const parts = this.partsOf(this.voting, round);
    parts.add(cohort);
    if (this.completes(parts)) this.sendVotes([...parts], round, true);
  }

  private sendVotes(from: readonly Cohort[], round: number, gathers: boolean): void {
    const { clock, resources, measures, epoch, options, dissemination } = this.world;
    const { ranks } = epoch;
    const voters = from.filter(({ votes }) => votes.has(round));
    if (voters.length === 0) return;
    const size = voters.reduce((sum, { size: own }) => sum + own, 0);
    const bytes = gathers ? laneVoteBytes(ranks) : openedVoteBytes(voters[0].votes.get(round)!);
    const traffic = gathers ? dissemination.votes(ranks, bytes) : everyToEvery(ranks, bytes);
    const share = gathers ? 1 : size / ranks;
    measures.sent(traffic, share);
    const handled = resources.compute(clock.now(), {
      messages: resources.handling(traffic) * share,
      consensus: (options.model.cpu.voteUs * (ranks - 1) * (size / ranks)) / 1000,
    });
    const at = Math.max(handled, clock.now() + resources.wire(scaled(traffic, share)));
    const votes = voters.flatMap((cohort) => votesOf(cohort, round, cohort.members, !gathers));
    schedule(this.world, at, () => {
      for (const cohort of epoch.cohorts) {
        const input: Input = { type: "votes", votes };
        this.hooks.feed(cohort, { at: clock.now(), kind: "input", round, input });
        this.hooks.voted(cohort, round);
      }
    });
  }

  // Pulls: asked of members one by one, answered by those that live.

  pull(actor: Actor, { to, pull }: Extract<Effect, { type: "send-pull" }>): void {
    const { clock, resources, epoch } = this.world;
    const askers = actor.forAll ? actor.cohort.size : 1;
    const asking = this.pointToPoint(askers, to.length, PULL_BYTES + 40 * pull.bodies.length);
    const handled = resources.compute(clock.now(), { messages: resources.handling(asking) });
    const at = Math.max(handled, clock.now() + resources.wire(asking)) + actor.cohort.delayMs;
    schedule(this.world, at, () => {
      for (const cohort of epoch.cohorts) {
        const asked = to.filter((member) => cohort.has(member));
        if (asked.length > 0) this.ask(actor, cohort, asked, pull);
      }
    });
  }

  private ask(actor: Actor, cohort: Cohort, asked: readonly number[], pull: Pull): void {
    const { clock } = this.world;
    const input: Input = { type: "pull", from: actor.judge.member, pull };
    this.answers = { actor, asked };
    this.hooks.feed(cohort, { at: clock.now(), kind: "input", round: pull.round, input });
    this.answers = undefined;
  }

  /** Whose pull is being answered, while a cohort takes it. */
  private answers: { actor: Actor; asked: readonly number[] } | undefined;

  /** What a cohort answers to the pull that it just took: every one that was asked does so. */
  answer(
    cohort: Cohort,
    effect: Extract<Effect, { type: "send-vote" | "send-body" | "send-decided" }>,
  ): void {
    if (this.answers === undefined) return;
    const { actor, asked } = this.answers;
    const { clock, resources, options } = this.world;
    const askers = actor.forAll ? actor.cohort.size : 1;
    const bytes = this.answerBytes(cohort, effect);
    const traffic = this.pointToPoint(askers, asked.length, bytes);
    const judged = effect.type === "send-decided" ? 0 : askers * asked.length;
    const us =
      effect.type === "send-vote" ? options.model.cpu.voteUs : options.model.cpu.proposalUs;
    const handled = resources.compute(clock.now(), {
      messages: resources.handling(traffic),
      consensus: (judged * us) / this.world.epoch.ranks / 1000,
    });
    const at = Math.max(handled, clock.now() + resources.wire(traffic)) + cohort.delayMs;
    schedule(this.world, at, () => {
      for (const input of this.inputsOf(cohort, asked, effect)) this.give(actor, input);
    });
  }

  private answerBytes(cohort: Cohort, effect: Effect): number {
    if (effect.type === "send-vote") return openedVoteBytes(effect.vote);
    if (effect.type !== "send-body") return DECIDED_BYTES;
    const own = cohort.batches.get(effect.round);
    const { transactionBytes } = this.world.options;
    return proposalBytes({
      blocks: (own?.blocks ?? 0) / cohort.size,
      transactions: (own?.count ?? 0) / cohort.size,
      transactionBytes,
    });
  }

  private inputsOf(
    cohort: Cohort,
    asked: readonly number[],
    effect: Extract<Effect, { type: "send-vote" | "send-body" | "send-decided" }>,
  ): { round: number; input: Input }[] {
    switch (effect.type) {
      case "send-vote": {
        const { round } = effect.vote;
        cohort.votes.set(round, effect.vote);
        return [{ round, input: { type: "votes", votes: votesOf(cohort, round, asked, true) } }];
      }
      case "send-body": {
        const { round, name } = effect;
        return bodyInputs(round, name).map((input) => ({ round, input }));
      }
      case "send-decided":
        return [
          { round: effect.decided.lastRound, input: { type: "decided", decided: effect.decided } },
        ];
    }
  }

  private give(actor: Actor, { round, input }: { round: number; input: Input }): void {
    if (!actor.forAll) return this.hooks.feedAlone(actor.judge, input);
    const { clock } = this.world;
    this.hooks.feed(actor.cohort, { at: clock.now(), kind: "input", round, input });
    if (input.type === "votes") this.hooks.voted(actor.cohort, round);
  }

  /** `askers` ranks send to `asked` ranks each; counted as one rank's share. */
  private pointToPoint(askers: number, asked: number, bytes: number): Traffic {
    const { ranks } = this.world.epoch;
    const messages = (askers * asked) / ranks;
    const traffic = { messages, bytes: messages * bytes, steps: 1, busiest: asked };
    this.world.measures.sent(traffic, 1);
    return traffic;
  }

  // Records.

  /** One rank's word to all others. */
  announce(actor: Actor, decided: Decided): void {
    const { clock, resources, measures, epoch, dissemination } = this.world;
    const traffic = dissemination.announcement(epoch.ranks, DECIDED_BYTES);
    measures.sent(traffic, 1);
    const handled = resources.compute(clock.now(), { messages: resources.handling(traffic) });
    const at = Math.max(handled, clock.now() + resources.wire(traffic)) + actor.cohort.delayMs;
    schedule(this.world, at, () => {
      const input: Input = { type: "decided", decided };
      const round = decided.lastRound;
      for (const cohort of epoch.cohorts) {
        if (cohort.judge === actor.judge && cohort.size === 1) continue;
        this.hooks.feed(cohort, { at: clock.now(), kind: "input", round, input });
      }
    });
  }
}

function bodyInputs(round: number, { rank, hash }: ProposalName): Input[] {
  return [
    { type: "proposal", round, rank, hash },
    { type: "validated", round, rank, hash, verdict: "yes" },
  ];
}

/** The votes of these members of a cohort: with their hashes, or without, as by a lane. */
function votesOf(
  cohort: Cohort,
  round: number,
  members: readonly number[],
  opened: boolean,
): Vote[] {
  const vote = cohort.votes.get(round);
  if (vote === undefined) return [];
  return members.map((member) => {
    const own = cohort.voteOf(vote, member);
    return opened ? own : { ...own, hashes: undefined };
  });
}

function scaled(traffic: Traffic, share: number): Traffic {
  return { ...traffic, bytes: traffic.bytes * share };
}
