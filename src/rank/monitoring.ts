/**
 * The fault monitor of one epoch at work: what is heard and missed goes in, and heartbeats, probes,
 * accusations, suspects, alerts and evictions come out. The rules are monitor/fault-monitor.ts's.
 */
import { unreachable } from "../base/assert.ts";
import { EXIT } from "../base/errors.ts";
import { answersMin, liarsMax } from "../ledger/judge.ts";
import { FaultMonitor } from "../monitor/fault-monitor.ts";
import type { MonitorEffect, MonitorInput } from "../monitor/monitor-events.ts";
import type { RankContext } from "./context.ts";
import { MESSAGE } from "./envelope.ts";
import { type Accusation, EMPTY_BODY, encodeAccusation } from "./membership-messages.ts";

export class Monitoring {
  private readonly rank: RankContext;
  private readonly monitor: FaultMonitor;
  private readonly send: (to: readonly number[], type: number, body: Uint8Array) => void;
  private readonly evict: (ranks: readonly number[]) => void;
  private readonly suspected: (ranks: readonly number[]) => void;
  private timerAt = Number.POSITIVE_INFINITY;
  private cancelTimer: (() => void) | undefined;
  private stopped = false;
  /** Members believed dead or silent. */
  suspects: readonly number[] = [];
  /** Members whose process is known to have ended. */
  readonly gone = new Set<number>();

  constructor(
    rank: RankContext,
    to: {
      send(to: readonly number[], type: number, body: Uint8Array): void;
      evict(ranks: readonly number[]): void;
      suspects(ranks: readonly number[]): void;
    },
  ) {
    const { session, settings, clock } = rank;
    this.rank = rank;
    this.send = to.send;
    this.evict = to.evict;
    this.suspected = to.suspects;
    this.monitor = new FaultMonitor(
      {
        self: session.self,
        ranks: session.ranks,
        answersMin: answersMin(session.ranks, rank.chain.genesis.quorum),
        hosts: session.members.map(({ host }) => host),
        timing: settings.monitoring,
        certainMin: 1 + liarsMax(session.ranks, rank.chain.genesis.quorum),
      },
      clock.now(),
    );
  }

  start(): void {
    this.take({ type: "tick" });
  }

  stop(): void {
    this.stopped = true;
    this.cancelTimer?.();
  }

  /** C1: an authentic message of that member has come. */
  heard(member: number): void {
    if (this.stopped) return;
    const effects = this.monitor.heard(member, this.rank.clock.now());
    if (effects.length === 0) return;
    for (const effect of effects) this.perform(effect);
    this.setTimer();
  }

  /** C2: its process has ended. */
  memberGone(member: number): void {
    if (member === this.rank.session.self || this.gone.has(member)) return;
    this.gone.add(member);
    this.take({ type: "gone", rank: member });
  }

  /** C2: its exit routine says so. */
  bye(member: number, reason: string): void {
    this.gone.add(member);
    this.take({ type: "bye", rank: member, reason });
  }

  accused(by: number, { rank, certain, withdrawn }: Accusation): void {
    // Nobody is cut off for good on the word of somebody who may lie.
    const believed = certain && this.rank.signing === undefined;
    if (believed && !withdrawn && rank !== this.rank.session.self) this.gone.add(rank);
    if (withdrawn) this.take({ type: "absolved", by, rank });
    else this.take({ type: "accused", by, rank, certain });
  }

  /** It contradicts itself, which is proven: it is evicted, and cut off afterwards. */
  convicted(member: number): void {
    if (member === this.rank.session.self) return;
    this.gone.add(member);
    this.take({ type: "convicted", rank: member });
  }

  /** Milliseconds since a member was heard. */
  heardAgoMs(member: number): number {
    return this.monitor.heardAgoMs(member, this.rank.clock.now());
  }

  /** C1: a collective missed its deadline. */
  laneLost(): void {
    this.take({ type: "lane-lost" });
  }

  /** C3: an exception was contained. */
  exception(where: string): void {
    this.take({ type: "exception", where });
  }

  private take(input: MonitorInput): void {
    if (this.stopped) return;
    const effects = this.monitor.step(input, this.rank.clock.now());
    for (const effect of effects) this.perform(effect);
    this.setTimer();
  }

  private perform(effect: MonitorEffect): void {
    const { session } = this.rank;
    switch (effect.type) {
      case "heartbeat":
        return this.send(effect.to, MESSAGE.heartbeat, EMPTY_BODY);
      case "probe":
        return this.send([effect.to], MESSAGE.probe, EMPTY_BODY);
      case "accuse": {
        const { rank, certain } = effect;
        const body = encodeAccusation({ rank, certain, withdrawn: false });
        return this.send(session.others, MESSAGE.accuse, body);
      }
      case "absolve": {
        const body = encodeAccusation({ rank: effect.rank, certain: false, withdrawn: true });
        return this.send(session.others, MESSAGE.accuse, body);
      }
      case "suspects":
        this.suspects = effect.ranks;
        this.suspected(effect.ranks);
        this.rank.emit({ type: "suspects", ranks: effect.ranks });
        return this.minority();
      case "alert":
        return this.rank.emit({ type: "alert" });
      case "evict":
        return this.evict(effect.ranks);
      case "event":
        return this.rank.events.onMonitor(effect.event);
      default:
        return unreachable(effect);
    }
  }

  private minoritySince: number | undefined;

  /** No minority seals a byzantine epoch: a new job does, under the ledger key. */
  private minority(): void {
    const { signing, clock, settings, events, session } = this.rank;
    if (signing === undefined || !this.rank.inMinority()) {
      this.minoritySince = undefined;
      return;
    }
    if (this.minoritySince !== undefined) return;
    const since = clock.now();
    this.minoritySince = since;
    clock.schedule(since + settings.storageLostMs, () => {
      if (this.stopped || this.minoritySince !== since) return;
      const left = session.ranks - this.suspects.length;
      const seconds = Math.round(settings.storageLostMs / 1000);
      const reason = `${left} of ${session.ranks} members are left for ${seconds} s, too few to go on: start the job again`;
      events.onHalt("MAJORITY_LOST", reason, EXIT.unavailable);
    });
  }

  private setTimer(): void {
    const at = this.monitor.nextDeadline();
    if (at >= this.timerAt || this.stopped) return;
    this.cancelTimer?.();
    this.timerAt = at;
    this.cancelTimer = this.rank.clock.schedule(at, () => {
      this.timerAt = Number.POSITIVE_INFINITY;
      this.cancelTimer = undefined;
      this.take({ type: "tick" });
    });
  }
}
