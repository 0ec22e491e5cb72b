/**
 * Step 1 at all ranks of a cohort: somebody has something to propose, rings the others, and all form
 * and mine their blocks.
 */
import type { Effect } from "../consensus/effects.ts";
import type { Cohort, Feed, Judge } from "./cohort.ts";
import { NO_TRAFFIC } from "./dissemination.ts";
import { schedule, type World } from "./world.ts";

export interface BuildingHooks {
  feed(cohort: Cohort, feed: Feed): void;
  perform(cohort: Cohort, effects: readonly Effect[]): void;
  performAlone(judge: Judge, effects: readonly Effect[]): void;
  /** Somebody opens this round. */
  opened(round: number): void;
}

export class Building {
  private readonly world: World;
  private readonly hooks: BuildingHooks;
  private readonly seeking = new Map<Cohort, number>();
  private rungRound = 0;

  constructor(world: World, hooks: BuildingHooks) {
    this.world = world;
    this.hooks = hooks;
  }

  /** A new epoch begins after this round. */
  reset(settled: number): void {
    this.seeking.clear();
    this.rungRound = settled;
  }

  /** As rank/demand.ts: asks for a round when a block is due, and storage does not lag behind. */
  seek(cohort: Cohort): void {
    const { clock, epoch, loads } = this.world;
    const { core } = cohort.judge;
    if (cohort.building || cohort.sealed || epoch.over || core.isFrozen) return;
    const due = loads.get(cohort.name)!.dueAt(clock.now());
    if (due > clock.now()) return this.seekAt(cohort, due);
    if (core.mayOpen) this.demand(cohort);
  }

  private demand(cohort: Cohort): void {
    const { clock, epoch } = this.world;
    this.hooks.perform(cohort, cohort.demand(clock.now()));
    for (const judge of epoch.alone)
      if (judge.cohort === cohort)
        this.hooks.performAlone(judge, judge.step({ type: "demand" }, clock.now()));
  }

  private seekAt(cohort: Cohort, at: number): void {
    if ((this.seeking.get(cohort) ?? Number.POSITIVE_INFINITY) <= at) return;
    this.seeking.set(cohort, at);
    schedule(this.world, at, () => {
      this.seeking.delete(cohort);
      this.seek(cohort);
    });
  }

  mine(cohort: Cohort, round: number): void {
    const { clock } = this.world;
    this.hooks.opened(round);
    cohort.building = true;
    cohort.opened = round;
    schedule(this.world, clock.now() + this.ringDelay(cohort, round), () =>
      this.build(cohort, round),
    );
  }

  /** How much later than the first rank the others begin. */
  private ringDelay(cohort: Cohort, round: number): number {
    const { clock, loads, dissemination, epoch, resources, measures, options } = this.world;
    if (round <= this.rungRound) return 0;
    this.rungRound = round;
    const { ranks } = epoch;
    const traffic = ranks > 1 ? dissemination.ring(ranks) : NO_TRAFFIC;
    measures.sent(traffic, 1);
    if (traffic !== NO_TRAFFIC) {
      resources.compute(clock.now(), { messages: resources.handling(traffic) });
      const delay = resources.wire(traffic);
      schedule(this.world, clock.now() + delay, () => this.rung(round));
      return delay;
    }
    if (ranks === 1 || loads.get(cohort.name)!.allDue(clock.now())) return 0;
    // The proposal of the first one rings: it is mined before.
    const { hashUs, messageUs } = options.model.cpu;
    return (2 ** options.difficulty * hashUs + messageUs * (ranks - 1)) / 1000;
  }

  /** Who has not opened the round yet does so now. */
  private rung(round: number): void {
    const { epoch } = this.world;
    for (const cohort of epoch.cohorts)
      if (cohort.opened < round && cohort.judge.core.mayOpen) this.demand(cohort);
  }

  private build(cohort: Cohort, round: number): void {
    const { clock, loads, resources, measures, options, epoch } = this.world;
    const share = loads.get(cohort.name)!.take(clock.now(), cohort.size);
    const { count, blocks, blocksMost, most } = share;
    cohort.batches.set(round, share);
    measures.hashes += blocks * 2 ** options.difficulty;
    const { roundUs, hashUs, ownTransactionUs } = options.model.cpu;
    const { ranks } = epoch;
    const puzzleMs = (2 ** options.difficulty * hashUs) / 1000;
    const own = ownTransactionUs / 1000;
    const mean = {
      round: (roundUs / 1000) * (cohort.size / ranks),
      transactions: (own * count) / ranks,
      puzzle: (puzzleMs * blocks) / ranks,
    };
    const slowest = roundUs / 1000 + own * most + puzzleMs * slowestMiner(blocksMost, blocks);
    const at = resources.compute(clock.now(), mean, slowest);
    schedule(this.world, at, () => {
      cohort.building = false;
      if (count > 0) loads.get(cohort.name)!.roundTrips.proposed(round, clock.now());
      this.hooks.feed(cohort, { at: clock.now(), kind: "mined", round });
    });
  }
}

/** Of the ranks that mine so many blocks each, how many blocks' time the slowest one takes. */
function slowestMiner(blocksMost: number, blocks: number): number {
  if (blocks === 0) return 0;
  const miners = Math.max(1, blocks / Math.max(1, blocksMost));
  // The time of a block is exponential: the longest of n is H(n) times the mean, about ln n + γ.
  const longest = miners < 2 ? 1 : Math.log(miners) + 0.5772;
  return blocksMost - 1 + longest;
}
