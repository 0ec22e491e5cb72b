/**
 * The fault monitor of one member in one epoch, as a pure machine: what was heard, missed or went
 * wrong goes in; heartbeats, suspicions and proposals to evict come out. Three checkpoints: C1 the
 * exchange of messages, C2 statuses and processes, C3 exceptions. Never wrong about safety, since
 * nothing here decides anything: a SEAL does. README.md tells the rules.
 *
 * Invariants: this rank never suspects itself; who is certainly dead stays suspected; what is
 * handed out as `suspects` is the whole truth until the next one.
 */
import { assert, unreachable } from "../base/assert.ts";
import { Accusations } from "./accusations.ts";
import { EventDamper } from "./event-damper.ts";
import { EvictionTurns } from "./eviction-turns.ts";
import { MemberStates } from "./member-states.ts";
import type {
  Checkpoint,
  MonitorEffect,
  MonitorEventKind,
  MonitorInput,
  MonitorOptions,
} from "./monitor-events.ts";
import { neighbours, OBSERVERS } from "./ring.ts";
import { SilenceClocks } from "./silence-clocks.ts";

const NOTHING: readonly MonitorEffect[] = Object.freeze([]);

export class FaultMonitor {
  private readonly options: MonitorOptions;
  private readonly heartbeatMs: number;
  private readonly suspectMs: number;
  private readonly evictMs: number;
  private readonly clocks: SilenceClocks;
  private readonly accusations = new Accusations();
  private readonly turns: EvictionTurns;
  private readonly damper: EventDamper;
  private readonly members: MemberStates;

  private observers: number[] = [];
  private heartbeatAt: number;
  private rollCallAt = Number.NEGATIVE_INFINITY;
  private told: readonly number[] = [];
  private wasMinority = false;
  /** Somebody fell out or came back since `told`. */
  private hasChanged = false;
  private now: number;
  private out: MonitorEffect[] = [];

  constructor(options: MonitorOptions, now: number) {
    const { self, ranks, hosts, answersMin } = options;
    const { heartbeatMs, suspectMs, evictMs, turnDelayMs, scale } = options.timing;
    assert(self >= 0 && self < ranks && hosts.length === ranks, "the monitor knows its epoch");
    assert(answersMin >= 1 && answersMin <= ranks, "members can agree");
    assert(scale >= 1 && 4 * heartbeatMs <= suspectMs && suspectMs < evictMs, "deadlines follow");
    // Waiting for a core grows with the ranks that share it, but most of them sleep most of the time.
    const factor = Math.sqrt(scale);
    this.options = options;
    this.heartbeatMs = heartbeatMs * factor;
    this.suspectMs = suspectMs * factor;
    this.evictMs = evictMs * factor;
    this.clocks = new SilenceClocks({
      ranks,
      heartbeatMs: this.heartbeatMs,
      suspectMs: this.suspectMs,
      evictMs: this.evictMs,
      now,
    });
    this.turns = new EvictionTurns({
      gatherMs: this.heartbeatMs,
      gatherMaxMs: this.suspectMs,
      turnDelayMs: turnDelayMs * factor,
      repeatMs: this.evictMs,
    });
    this.damper = new EventDamper(this.evictMs);
    this.members = new MemberStates(ranks);
    this.heartbeatAt = now;
    this.now = now;
    this.formRing();
  }

  /** The input `heard`, for every message: two stores, unless that member was suspected. */
  heard(rank: number, now: number): readonly MonitorEffect[] {
    this.clocks.heard(rank, now);
    if (!this.members.isSilent(rank)) return NOTHING;
    return this.step({ type: "tick" }, now);
  }

  step(input: MonitorInput, now: number): readonly MonitorEffect[] {
    if (input.type === "heard") return this.heard(input.rank, now);
    if (input.type === "status" && input.ok) return this.heard(input.rank, now);
    this.now = Math.max(this.now, now);
    this.out = [];
    this.goOn();
    this.take(input);
    // Words of others come in floods when many die at once: what they bring about can wait a beat.
    const isWord = input.type === "accused" || input.type === "absolved";
    if (!isWord || this.hasChanged || this.now >= this.nextDeadline()) this.progress();
    return this.out;
  }

  /** When to call `step` with a tick: later than the last one; Infinity for a rank that is alone. */
  nextDeadline(): number {
    if (this.options.ranks === 1) return Number.POSITIVE_INFINITY;
    return Math.min(this.heartbeatAt, this.turns.dueAt);
  }

  /** Members believed dead or silent, ascending. */
  get suspects(): readonly number[] {
    return this.told;
  }

  /** Milliseconds since `rank` was last heard; 0 for this rank itself. */
  heardAgoMs(rank: number, now: number): number {
    return rank === this.options.self ? 0 : this.clocks.heardAgoMs(rank, now);
  }

  private take(input: Exclude<MonitorInput, { type: "heard" }>): void {
    switch (input.type) {
      case "tick":
        return;
      case "gone":
        return this.bury(input.rank, { kind: "gone", text: "its process has ended", tell: true });
      case "bye": {
        const text = `says that it ends (${input.reason})`;
        return this.bury(input.rank, { kind: "bye", text, tell: false }); // it told everybody
      }
      case "convicted": {
        const text = "signed two statements that contradict each other";
        return this.bury(input.rank, { kind: "convicted", text, tell: false }); // proofs are told
      }
      case "status":
        this.clocks.heard(input.rank, this.now);
        this.event("status", "C2", input.rank, "says that its last validation went wrong");
        this.out.push({ type: "alert", reason: `rank ${input.rank} could not validate` });
        return;
      case "accused":
        return this.onAccused(input);
      case "absolved":
        return this.onAbsolved(input.by, input.rank);
      case "missed":
        this.check(input.rank);
        return this.event("missed", "C1", input.rank, `is late: ${input.what}`);
      case "exception":
        this.event("exception", "C3", undefined, input.where);
        this.out.push({ type: "alert", reason: `exception: ${input.where}` });
        return;
      case "lane-lost":
        for (let rank = 0; rank < this.members.ring.length; rank++)
          if (this.members.ring[rank] === 1) this.check(rank);
        return this.event("lane-lost", "C1", undefined, "a collective missed its deadline");
      default:
        return unreachable(input);
    }
  }

  // C1: silence.

  /** The clocks go on, and who was heard is absolved. */
  private goOn(): void {
    const away = this.clocks.advance(this.now, (rank) => {
      this.members.checked[rank] = 0;
      if (this.members.isSilent(rank)) this.absolve(rank);
    });
    if (away === 0 || this.options.ranks === 1) return;
    this.event("late", "C1", undefined, `this rank was not scheduled for ${Math.round(away)} ms`);
  }

  /** Looks closer at `rank`: it has to be heard soon. */
  private check(rank: number): void {
    if (rank === this.options.self || this.members.suspected[rank] === 1) return;
    this.clocks.hurry(rank, this.members.isWatched(rank));
    this.members.checked[rank] = 1;
  }

  private progress(): void {
    if (this.options.ranks === 1) return;
    if (this.now >= this.heartbeatAt) {
      if (this.observers.length > 0) this.out.push({ type: "heartbeat", to: this.observers });
      this.heartbeatAt = this.now + this.heartbeatMs;
    }
    for (let rank = 0; rank < this.options.ranks; rank++) {
      if (rank === this.options.self) continue;
      if (this.members.suspected[rank] === 1) this.pursue(rank);
      else if (this.members.isWatched(rank)) this.listen(rank);
    }
    this.tellSuspects();
    this.evict();
  }

  private listen(rank: number): void {
    const silence = this.clocks.silence(rank);
    if (silence >= this.allowed(rank)) {
      this.suspect(rank, silence);
      this.probe(rank, this.suspectMs);
    } else if (silence >= this.suspectMs / 2) {
      // Twice before it is suspected, as one may be lost.
      this.probe(rank, this.suspectMs / 4);
    }
  }

  /** Silence after which `rank` is suspected: longer for one that was suspected wrongly of late. */
  private allowed(rank: number): number {
    const patience = this.members.patienceWith(rank, this.clocks.awake, this.evictMs);
    return Math.min(patience * this.suspectMs, this.evictMs);
  }

  /** It stays suspected: say so again, in case that was lost, and ask whether it is back. */
  private pursue(rank: number): void {
    const { certain, firstHand, accusedAt } = this.members;
    if (certain[rank] === 0) this.probe(rank, this.suspectMs);
    const isDue = this.clocks.awake - accusedAt[rank] >= this.evictMs / 2;
    if (isDue && (firstHand[rank] === 1 || this.isHeir(rank))) this.accuse(rank);
  }

  /**
   * This rank is one of the next that live after `rank`: these pass on the word of its end, as those
   * who brought it may have died before everybody had it.
   */
  private isHeir(rank: number): boolean {
    const { self, ranks } = this.options;
    const isOut = (each: number) => this.members.suspected[each] === 1;
    return neighbours({ self: rank, ranks, count: OBSERVERS }, 1, isOut).includes(self);
  }

  private probe(rank: number, intervalMs: number): void {
    if (this.clocks.awake - this.members.probedAt[rank] < intervalMs) return;
    this.members.probedAt[rank] = this.clocks.awake;
    this.out.push({ type: "probe", to: rank });
  }

  private suspect(rank: number, silence: number): void {
    const isObserver = this.members.ring[rank] === 1;
    this.members.suspect(rank);
    this.event("suspected", "C1", rank, `was silent for ${Math.round(silence)} ms`);
    this.accuse(rank);
    this.formRing();
    if (isObserver) this.callRoll();
  }

  /** Who watched others may have died with it, and a host with all of its members. */
  private callRoll(): void {
    if (this.clocks.awake - this.rollCallAt < this.suspectMs) return;
    this.rollCallAt = this.clocks.awake;
    for (const rank of this.everybody()) this.check(rank);
  }

  private absolve(rank: number): void {
    this.members.absolve(rank, this.clocks.awake, this.evictMs);
    this.out.push({ type: "absolve", rank });
    this.event("absolved", "C1", rank, "was heard again");
    this.formRing();
  }

  private accuse(rank: number): void {
    this.members.accusedAt[rank] = this.clocks.awake;
    this.out.push({ type: "accuse", rank, certain: this.members.certain[rank] === 1 });
  }

  private onAccused(input: { by: number; rank: number; certain: boolean }): void {
    const { by, rank, certain } = input;
    const { self } = this.options;
    if (by === self || by === rank) return;
    // It asks this rank itself, and hears the answer or not.
    if (rank === self) return this.event("unheard", "C1", by, "does not hear this rank");
    if (!certain && this.members.certain[rank] === 1) {
      // The word of its end did not reach everybody, and who spoke it may have died as well.
      const since = this.clocks.awake - this.members.accusedAt[rank];
      if (since >= this.evictMs / 2) this.accuse(rank);
      return;
    }
    if (!certain) {
      this.accusations.accuse(by, rank, this.clocks.awake);
      return this.check(rank);
    }
    const witnesses = this.accusations.accuseCertain(by, rank);
    if (witnesses < (this.options.certainMin ?? 1)) return this.check(rank);
    this.bury(rank, { kind: "gone", text: `its process has ended, says rank ${by}`, tell: false });
  }

  private onAbsolved(by: number, rank: number): void {
    this.accusations.absolve(by, rank);
    // It may be back for this rank too, to which it perhaps sends no heartbeats: ask it with the
    // next beat, once, however many say so.
    const { probedAt } = this.members;
    const soon = this.clocks.awake - this.suspectMs + this.heartbeatMs;
    probedAt[rank] = Math.min(probedAt[rank], soon);
  }

  // C2: certainty.

  private bury(
    rank: number,
    how: { kind: "gone" | "bye" | "convicted"; text: string; tell: boolean },
  ): void {
    if (rank === this.options.self || this.members.certain[rank] === 1) return;
    this.members.bury(rank, how.tell);
    this.event(how.kind, "C2", rank, how.text);
    if (how.tell) this.accuse(rank);
    this.formRing();
  }

  // What follows.

  private tellSuspects(): void {
    if (!this.hasChanged) return;
    this.hasChanged = false;
    const ranks = this.everybody().filter((rank) => this.members.suspected[rank] === 1);
    // Somebody may have been absolved and suspected again in one step, or have died while suspected.
    if (ranks.length === this.told.length && ranks.every((rank, at) => rank === this.told[at]))
      return;
    this.told = ranks;
    this.out.push({ type: "suspects", ranks });
    const { answersMin } = this.options;
    if (this.isMinority && !this.wasMinority) {
      const left = this.options.ranks - ranks.length;
      const text = `${left} of ${this.options.ranks} members are left and ${answersMin} can agree: only storage can decide`;
      this.event("minority", "C1", undefined, text);
    }
    this.wasMinority = this.isMinority;
  }

  private get isMinority(): boolean {
    return this.options.ranks - this.told.length < this.options.answersMin;
  }

  private evict(): void {
    const ranks = this.evictable();
    const { self } = this.options;
    const place = self - this.told.filter((rank) => rank < self).length;
    if (!this.turns.take(ranks, place, this.now)) return;
    this.out.push({ type: "evict", ranks });
    const names = ranks.map((rank) => this.name(rank)).join(", ");
    const left = new Set(this.options.hosts.filter((_, rank) => !ranks.includes(rank)));
    const whole = new Set(ranks.map((rank) => this.options.hosts[rank])).difference(left);
    const note = whole.size > 0 ? `: all of ${[...whole].join(", ")}` : "";
    const isCertain = ranks.every((rank) => this.members.certain[rank] === 1);
    const text = `this rank proposes to go on without ${names}${note}`;
    this.event("evict", isCertain ? "C2" : "C1", undefined, text);
  }

  /**
   * Who has ended for certain, and who was silent for long enough by common judgement. The latter
   * take along those that are half way there: one end of the epoch instead of two.
   */
  private evictable(): readonly number[] {
    if (this.told.length === 0) return this.told;
    const silent = this.told.filter(
      (rank) => this.members.certain[rank] === 0 && this.isAgreed(rank),
    );
    const isDue = silent.some((rank) => this.clocks.silence(rank) >= this.evictMs);
    const along = (rank: number) => isDue && this.clocks.silence(rank) >= this.evictMs / 2;
    return this.told.filter(
      (rank) => this.members.certain[rank] === 1 || (silent.includes(rank) && along(rank)),
    );
  }

  private isAgreed(rank: number): boolean {
    if (this.isMinority) return true;
    const accusers = this.accusations.count(
      rank,
      (by, at) => this.members.suspected[by] === 0 && !this.clocks.isStale(at),
    );
    return 1 + accusers >= this.options.answersMin;
  }

  /** Anew whenever somebody falls out or comes back. */
  private formRing(): void {
    this.hasChanged = true;
    const { self, ranks } = this.options;
    const ring = { self, ranks, count: OBSERVERS };
    const isOut = (rank: number) => this.members.suspected[rank] === 1;
    this.observers = neighbours(ring, 1, isOut);
    const watched = neighbours(ring, -1, isOut);
    const added = watched.filter((rank) => this.members.ring[rank] === 0);
    // Who is new was not heard regularly, and may not know that this rank listens now.
    for (const rank of added) this.check(rank);
    this.members.ring.fill(0);
    for (const rank of watched) this.members.ring[rank] = 1;
  }

  private everybody(): number[] {
    const { self, ranks } = this.options;
    return Array.from({ length: ranks }, (_, rank) => rank).filter((rank) => rank !== self);
  }

  private name(rank: number): string {
    return `rank ${rank} on ${this.options.hosts[rank]}`;
  }

  private event(
    kind: MonitorEventKind,
    checkpoint: Checkpoint,
    rank: number | undefined,
    what: string,
  ): void {
    const text = rank === undefined ? what : `${this.name(rank)} ${what}`;
    const event = this.damper.admit({ at: this.now, kind, rank, checkpoint, text });
    if (event !== undefined) this.out.push({ type: "event", event });
  }
}
