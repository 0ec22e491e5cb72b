/**
 * The production core at many ranks in virtual time: inputs reach the cores when the cost model says
 * so, and what the cores decide costs what it says. Each cohort is judged once, by the core of its
 * representative; who records or seals is judged by a core of its own.
 */
import { assert } from "../base/assert.ts";
import type { Effect, Input } from "../consensus/effects.ts";
import { scaledTiming } from "../rank/context.ts";
import { VirtualClock } from "../simulation/virtual-clock.ts";
import { Building } from "./building.ts";
import type { Cohort, Feed, Judge } from "./cohort.ts";
import { disseminationFor } from "./dissemination.ts";
import { Exchange } from "./exchange.ts";
import { Failures } from "./failures.ts";
import { firstEpoch } from "./first-epoch.ts";
import type { Load } from "./load.ts";
import { EmulatedLog } from "./log.ts";
import { Measures } from "./measures.ts";
import { effectsName } from "./names.ts";
import { Resources } from "./resources.ts";
import { type EmulationResult, resultOf } from "./result.ts";
import { StorageAccess } from "./storage-access.ts";
import { coreOptions, type EmulationOptions, type Epoch, schedule, type World } from "./world.ts";

/** Virtual time without a settled round after which nothing more will come. */
const STALLED_MS = 600_000;
/** As rank/perform.ts has it: what was lost is proposed again after that. */
const RETRY_DELAY_MS = 20;
/** Part of the rounds that is run first and not measured. */
const WARM_UP = 0.05;

interface Timer {
  at: number;
  cancel: () => void;
}

/** `onRound` hears of each settled round. Throws what a core asserts. */
export async function emulate(
  options: EmulationOptions,
  onRound?: (done: number, all: number) => void,
): Promise<EmulationResult> {
  return new Emulation(options, onRound).run();
}

class Emulation {
  private readonly world: World;
  private readonly exchange: Exchange;
  private readonly failures: Failures;
  private readonly building: Building;
  private readonly storage: StorageAccess;
  private readonly onRound: ((done: number, all: number) => void) | undefined;
  private readonly timers = new Map<Judge, Timer>();
  private readonly warmUp: number;
  private readonly last: number;
  private readonly notValid = new Set<string>();

  constructor(options: EmulationOptions, onRound?: (done: number, all: number) => void) {
    const { ranks, ranksPerNode, coresPerNode, model } = options;
    const late = options.late?.ranks ?? 0;
    const dying = options.kills.reduce((sum, kill) => sum + kill.ranks, 0);
    assert(late + dying + 2 <= ranks || late + dying === 0, "two ranks are on time and live");
    this.onRound = onRound;
    this.warmUp = Math.max(1, Math.round(WARM_UP * options.rounds));
    this.last = this.warmUp + options.rounds;
    const base = {
      ...{ options, clock: new VirtualClock(), log: new EmulatedLog(), measures: new Measures() },
      resources: new Resources(model, { ranks, ranksPerNode, coresPerNode }),
      dissemination: disseminationFor(ranks, options.dissemination),
      timing: scaledTiming({
        ranksPerCore: Math.min(ranks, ranksPerNode) / coresPerNode,
        ranks,
      }),
      loads: new Map<string, Load>(),
    };
    this.world = { ...base, epoch: undefined as unknown as Epoch };
    this.world.epoch = firstEpoch(this.world);
    const feed = (cohort: Cohort, each: Feed) => this.feed(cohort, each);
    const feedAlone = (judge: Judge, input: Input) => this.feedAlone(judge, input);
    this.exchange = new Exchange(this.world, {
      feed,
      feedAlone,
      voted: (cohort, round) => this.voted(cohort, round),
    });
    this.failures = new Failures(this.world, {
      feed,
      feedAlone,
      standIn: (cohort, member) => this.standIn(cohort, member),
      giveUpGathering: () => this.exchange.giveUpGathering(),
    });
    this.building = new Building(this.world, {
      feed,
      perform: (cohort, effects) => this.perform(cohort, effects),
      performAlone: (judge, effects) => this.performAlone(judge, effects),
      opened: (round) => this.failures.opened(round),
    });
    this.storage = new StorageAccess(this.world, feedAlone);
  }

  /** The cohort that progress is told of. */
  private get main(): Cohort {
    return this.world.epoch.cohorts[0];
  }

  async run(): Promise<EmulationResult> {
    const { clock } = this.world;
    for (const cohort of this.world.epoch.cohorts) this.building.seek(cohort);
    const done = () => this.settled >= this.last;
    while (!done()) {
      const before = this.settled;
      await clock.run(clock.now() + STALLED_MS, done);
      assert(this.settled > before, `nothing is settled after round ${before}`);
    }
    return resultOf(this.world, this.notValid);
  }

  private get settled(): number {
    return this.main.judge.core.settled;
  }

  // Inputs and effects.

  private feed(cohort: Cohort, feed: Feed): void {
    if (cohort.sealed) return;
    this.perform(cohort, cohort.take(feed));
    for (const judge of this.world.epoch.alone)
      if (judge.cohort === cohort) this.performAlone(judge, judge.take(feed));
    this.building.seek(cohort);
  }

  private feedAlone(judge: Judge, input: Input): void {
    const { clock, epoch } = this.world;
    if (judge === judge.cohort.judge) {
      const round = this.settled + 1;
      return this.feed(judge.cohort, { at: clock.now(), kind: "input", round, input });
    }
    if (epoch.alone.has(judge)) this.performAlone(judge, judge.step(input, clock.now()));
  }

  private setTimer(judge: Judge): void {
    const at = judge.core.nextDeadline();
    const set = this.timers.get(judge);
    if (set !== undefined && set.at <= at) return;
    set?.cancel();
    this.timers.delete(judge);
    if (at === Number.POSITIVE_INFINITY) return;
    const { clock, epoch } = this.world;
    const cancel = clock.schedule(at, () => {
      this.timers.delete(judge);
      if (epoch.over) return;
      const effects = judge.step({ type: "tick" }, clock.now());
      if (judge === judge.cohort.judge) {
        this.perform(judge.cohort, effects);
        this.building.seek(judge.cohort);
      } else if (epoch.alone.has(judge)) this.performAlone(judge, effects);
    });
    this.timers.set(judge, { at, cancel });
  }

  /** What all ranks of a cohort do. */
  private perform(cohort: Cohort, effects: readonly Effect[]): void {
    const { judge } = cohort;
    for (const effect of effects) this.performOne(cohort, effect);
    if (!this.world.epoch.over) this.setTimer(judge);
  }

  private performOne(cohort: Cohort, effect: Effect): void {
    const { judge } = cohort;
    const actor = { cohort, judge, forAll: true };
    switch (effect.type) {
      case "mine":
        return this.building.mine(cohort, effect.round);
      case "propose":
        return this.exchange.propose(cohort, effect.round);
      case "vote":
        return this.exchange.vote(cohort, effect.vote);
      case "skip-vote":
        return this.exchange.skipVote(cohort, effect.round);
      case "send-pull":
        this.exchange.pull(actor, effect);
        return this.ensureRecorder(cohort);
      case "send-vote":
      case "send-body":
        return this.exchange.answer(cohort, effect);
      case "send-decided":
        if (effect.to !== "all") return this.exchange.answer(cohort, effect);
        return this.exchange.announce(actor, effect.decided);
      case "agreed":
        if (effect.name.rank !== judge.member) return;
        cohort.agreedAt.set(effect.round, this.world.clock.now());
        this.world.loads.get(cohort.name)!.roundTrips.agreed(effect.round, this.world.clock.now());
        return;
      case "link":
        return this.storage.link(judge, effect);
      case "read":
        return this.storage.read(judge, effect.slot);
      case "finalize":
        return this.finalize(cohort, effect);
      case "returned":
        return this.returned(cohort, effect.round);
      case "send-seal-pull":
        return this.failures.pullSeal(judge, effect);
      case "send-seal-answer":
        return this.failures.answerSeal(cohort, effect.answer);
      case "sealed":
        return this.sealed(cohort);
      case "halt":
        throw new Error(`a rank halts: ${effect.reason}`);
      case "validate":
      case "discard":
        return; // every proposal that comes is found good
    }
  }

  /** What one rank does beside what all of its cohort do. */
  private performAlone(judge: Judge, effects: readonly Effect[]): void {
    const { cohort } = judge;
    const actor = { cohort, judge, forAll: false };
    for (const effect of effects) {
      if (effect.type === "link") this.storage.link(judge, effect);
      else if (effect.type === "read") this.storage.read(judge, effect.slot);
      else if (effect.type === "send-decided" && effect.to === "all")
        this.exchange.announce(actor, effect.decided);
      else if (effect.type === "send-pull") this.exchange.pull(actor, effect);
      else if (effect.type === "send-seal-pull") this.failures.pullSeal(judge, effect);
      else if (effect.type === "finalize")
        judge.core.executed(effect.slot, effectsName(effect.slot));
      else if (effect.type === "halt") throw new Error(`a rank halts: ${effect.reason}`);
    }
    if (!this.world.epoch.over) this.setTimer(judge);
  }

  // Step 6: who records is judged by a core of its own.

  private voted(cohort: Cohort, round: number): void {
    if (round >= cohort.judge.core.settled + 1) this.ensureRecorder(cohort);
  }

  private recorder: { judge: Judge; round: number } | undefined;

  private ensureRecorder(of: Cohort): void {
    const { epoch } = this.world;
    const round = of.judge.core.settled + 1;
    if (this.recorder?.round === round || of.judge.core.isFrozen) return;
    if (!of.votes.has(round)) return;
    const member = this.turnIn(round);
    const cohort = epoch.cohorts.find((each) => each.has(member))!;
    if (cohort.judge.core.settled !== round - 1) return;
    this.dismiss();
    // It has its core already.
    if (cohort.judge.member === member) return;
    this.recorder = { judge: this.standIn(cohort, member), round };
  }

  /** The first rank of the round's order that lives. */
  private turnIn(round: number): number {
    const { ranks, dead } = this.world.epoch;
    for (let place = 0; place < ranks; place++) {
      const member = ((round % ranks) + place) % ranks;
      if (!dead.has(member)) return member;
    }
    throw new Error("all ranks are dead");
  }

  private dismiss(): void {
    if (this.recorder === undefined) return;
    this.retire(this.recorder.judge);
    this.recorder = undefined;
  }

  private standIn(cohort: Cohort, member: number): Judge {
    if (cohort.judge.member === member) return cohort.judge;
    const { epoch, clock } = this.world;
    const { core } = cohort.judge;
    const at = { head: { slot: core.headSlot, hash: core.headHash }, settled: core.settled };
    const made = cohort.judgeOf(member, coreOptions(this.world, at), clock.now());
    epoch.alone.add(made.judge);
    this.performAlone(made.judge, made.effects);
    return made.judge;
  }

  private retire(judge: Judge): void {
    this.world.epoch.alone.delete(judge);
    this.timers.get(judge)?.cancel();
    this.timers.delete(judge);
  }

  // Steps 7 and 9.

  private finalize(cohort: Cohort, effect: Extract<Effect, { type: "finalize" }>): void {
    const { clock, resources, options, log, epoch } = this.world;
    const { core, member } = cohort.judge;
    if (!log.agrees(effect)) this.notValid.add(cohort.name);
    core.executed(effect.slot, effectsName(effect.slot));
    let transactions = 0;
    for (const { round, order } of effect.rounds) {
      const named = new Set(order.map(({ rank }) => rank));
      for (const other of epoch.cohorts)
        if (named.has(other.judge.member)) transactions += other.batches.get(round)?.count ?? 0;
    }
    const share = cohort.size / epoch.ranks;
    const effort = (options.model.cpu.transactionUs * transactions) / 2000;
    const at = resources.computeBeside(clock.now(), { transactions: effort * share });
    for (const { round, order } of effect.rounds) {
      const own = order.some(({ rank }) => rank === member);
      if (own) this.settleOwn(cohort, round, at);
      if (cohort === this.main) this.roundSettled(round);
    }
    cohort.forget(core.settled);
    this.forgetBatches();
    if (cohort === this.main) this.exchange.forget(core.settled);
    log.forget(Math.min(...epoch.cohorts.map(({ judge }) => judge.core.headSlot)));
    // Whoever records next may have what it needs already.
    schedule(this.world, clock.now(), () => this.ensureRecorder(cohort));
  }

  /** What all cohorts have settled nobody asks for any more. */
  private forgetBatches(): void {
    const { cohorts } = this.world.epoch;
    const settled = Math.min(...cohorts.map(({ judge }) => judge.core.settled));
    for (const { batches } of cohorts)
      for (const round of batches.keys()) if (round <= settled) batches.delete(round);
  }

  private settleOwn(cohort: Cohort, round: number, at: number): void {
    const { measures, loads } = this.world;
    const load = loads.get(cohort.name)!;
    const share = cohort.batches.get(round);
    if (share === undefined) return;
    load.settled(share.count);
    measures.transactions += share.count;
    measures.blocksAgreed += share.blocks;
    const agreedAt = cohort.agreedAt.get(round);
    for (const batch of share.batches) {
      if (agreedAt !== undefined) measures.agreed.add(batch, load, agreedAt);
      measures.final.add(batch, load, at);
    }
  }

  private returned(cohort: Cohort, round: number): void {
    const { clock, loads, measures } = this.world;
    const share = cohort.batches.get(round);
    if (share === undefined) return;
    measures.blocksLost += share.blocks;
    cohort.batches.delete(round);
    clock.schedule(clock.now() + RETRY_DELAY_MS, () => {
      loads.get(cohort.name)!.giveBack(share.batches);
      const now = this.world.epoch.cohorts.find(({ name }) => name === cohort.name);
      if (now !== undefined) this.building.seek(now);
    });
  }

  private roundSettled(round: number): void {
    const { measures, resources, clock } = this.world;
    measures.rounds++;
    this.onRound?.(round, this.last);
    if (round !== this.warmUp) return;
    measures.forget(clock.now());
    resources.forget(clock.now());
  }

  // The epoch ends.

  private sealed(cohort: Cohort): void {
    const { epoch } = this.world;
    cohort.sealed = true;
    if (!epoch.cohorts.every(({ sealed }) => sealed)) return;
    const settled = cohort.judge.core.settled;
    for (const old of epoch.cohorts) this.takeBack(old, settled);
    for (const { cancel } of this.timers.values()) cancel();
    this.timers.clear();
    this.recorder = undefined;
    this.exchange.reset();
    this.world.epoch = this.failures.nextEpoch(settled);
    this.building.reset(settled);
    for (const next of this.world.epoch.cohorts) this.building.seek(next);
  }

  /** What was still being built for an epoch that is over. */
  private takeBack(cohort: Cohort, settled: number): void {
    for (const [round, share] of cohort.batches)
      if (round > settled) this.world.loads.get(cohort.name)!.giveBack(share.batches);
  }
}
