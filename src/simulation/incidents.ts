/**
 * What befalls a run at fixed times, beside the faults that chance brings to every message and every
 * step of the disk. Ranks are process numbers of the job of that time, taken modulo who lives.
 */
import type { Random } from "../base/random.ts";

/** What a rank is told when storage is away: an errno, or nothing until it is back. */
export type Outage = "EIO" | "ESTALE" | "hang";

/** What is away for a moment. */
export type Hiccup = "process" | "network" | "storage";

export type Incident =
  /** SIGKILL, or with `host`: and what its host had not synced is lost. */
  | {
      readonly kind: "rank-crash";
      readonly atMs: number;
      readonly rank: number;
      readonly host: boolean;
    }
  /** Its exit routine says BYE. */
  | { readonly kind: "rank-exit"; readonly atMs: number; readonly rank: number }
  /** Everybody on the machine of that rank dies at once. */
  | { readonly kind: "host-crash"; readonly atMs: number; readonly rank: number }
  | {
      readonly kind: "partition";
      readonly atMs: number;
      readonly ranks: readonly number[];
      readonly forMs: number;
    }
  /** Three parts or more, by number, none of which reaches another. */
  | {
      readonly kind: "shatter";
      readonly atMs: number;
      readonly parts: number;
      readonly forMs: number;
    }
  /** `deaf` hears nothing from `mute`, which hears it well. */
  | {
      readonly kind: "one-way";
      readonly atMs: number;
      readonly mute: number;
      readonly deaf: number;
      readonly forMs: number;
    }
  /** It hears nobody; everybody hears it. */
  | {
      readonly kind: "deaf";
      readonly atMs: number;
      readonly rank: number;
      readonly forMs: number;
    }
  /** SIGSTOP and SIGCONT. */
  | {
      readonly kind: "freeze-rank";
      readonly atMs: number;
      readonly rank: number;
      readonly forMs: number;
    }
  /** Every step on the disk fails for these ranks, or hangs until storage is back. */
  | {
      readonly kind: "storage-away";
      readonly atMs: number;
      readonly ranks: readonly number[];
      readonly forMs: number;
      readonly how: Outage;
    }
  /** One bit of a record's file turns, so many records before the head. */
  | {
      readonly kind: "bit-rot";
      readonly atMs: number;
      readonly back: number;
      readonly bit: number;
    }
  | { readonly kind: "job-crash"; readonly atMs: number; readonly power: boolean }
  /** Power fails at this step of the disk after `atMs`: before it, or right after it. */
  | {
      readonly kind: "step-crash";
      readonly atMs: number;
      readonly steps: number;
      readonly after: boolean;
    }
  /** The rank that takes this change of the disk after `atMs` dies: before it, or right after it. */
  | {
      readonly kind: "recorder-crash";
      readonly atMs: number;
      readonly changes: number;
      readonly after: boolean;
    }
  /** So short that it must be ridden out: it sleeps, hears nobody, or has no storage. */
  | {
      readonly kind: "hiccup";
      readonly atMs: number;
      readonly rank: number;
      readonly forMs: number;
      readonly of: Hiccup;
    }
  | { readonly kind: "second-job"; readonly atMs: number; readonly ranks: number }
  | { readonly kind: "freeze"; readonly atMs: number; readonly forMs: number };

/** Draws incidents for a cluster of so many ranks; times lie within the faults' part of a run. */
export class IncidentMaker {
  readonly made: Incident[] = [];
  private readonly random: Random;
  private readonly ranks: number;
  private readonly untilMs: number;
  private readonly evictMs: number;

  constructor(random: Random, run: { ranks: number; untilMs: number; evictMs: number }) {
    this.random = random;
    this.ranks = run.ranks;
    this.untilMs = run.untilMs;
    this.evictMs = run.evictMs;
  }

  private between(low: number, high: number): number {
    return low + this.random.nextBelow(high - low + 1);
  }
  private chance(share: number): boolean {
    return this.random.nextFloat() < share;
  }
  private when(): number {
    return this.between(100, this.untilMs);
  }
  private anyone(): number {
    return this.random.nextBelow(this.ranks);
  }

  times(count: number, make: () => void): void {
    for (let i = 0; i < count; i++) make();
  }

  death(): void {
    const atMs = this.when();
    const rank = this.anyone();
    if (this.chance(0.5))
      this.made.push({ kind: "rank-crash", atMs, rank, host: this.chance(0.3) });
    else if (this.chance(0.25)) this.made.push({ kind: "rank-exit", atMs, rank });
    else {
      const changes = this.between(1, 20);
      this.made.push({ kind: "recorder-crash", atMs, changes, after: this.chance(0.5) });
    }
  }

  hostDeath(): void {
    this.made.push({ kind: "host-crash", atMs: this.when(), rank: this.anyone() });
  }

  /** Most die while nobody can reach storage, for longer than the rest wait: nothing is left to go on with. */
  stranding(): void {
    const atMs = this.everybodysStorage(this.between(2500, 2900), "ESTALE");
    this.massDeath(atMs);
  }

  /** More than half die within a moment of each other. */
  massDeath(atMs = this.when()): void {
    const dead = Math.floor(this.ranks / 2) + 1;
    for (let i = 0; i < dead; i++) {
      const at = atMs + (this.chance(0.5) ? 0 : this.between(0, this.evictMs));
      this.made.push({ kind: "rank-crash", atMs: at, rank: this.anyone(), host: false });
    }
  }

  /** Short enough to be ridden out, or so long that whoever is cut off is evicted. */
  private duration(): number {
    return this.chance(0.4) ? this.between(20, this.evictMs) : this.evictMs * this.between(2, 5);
  }

  partition(): void {
    const ranks = Array.from({ length: this.ranks }, (_, rank) => rank);
    const cut = ranks.filter(() => this.chance(0.4));
    this.made.push({ kind: "partition", atMs: this.when(), ranks: cut, forMs: this.duration() });
  }

  /** As even as it can be, and long enough that each half has to think. */
  evenSplit(): void {
    const ranks = Array.from({ length: this.ranks }, (_, rank) => rank);
    const cut: number[] = [];
    while (cut.length < Math.floor(this.ranks / 2))
      cut.push(...ranks.splice(this.random.nextBelow(ranks.length), 1));
    const forMs = this.evictMs * this.between(2, 6);
    this.made.push({ kind: "partition", atMs: this.when(), ranks: cut, forMs });
  }

  shatter(): void {
    const parts = this.between(3, Math.max(3, this.ranks));
    this.made.push({ kind: "shatter", atMs: this.when(), parts, forMs: this.duration() });
  }

  oneWay(): void {
    const mute = this.anyone();
    const deaf = (mute + 1 + this.random.nextBelow(Math.max(1, this.ranks - 1))) % this.ranks;
    this.made.push({ kind: "one-way", atMs: this.when(), mute, deaf, forMs: this.duration() });
  }

  /** Each rank goes deaf, and they hear again one by one, in another order. */
  swizzle(): void {
    const start = this.when();
    const forMs = this.duration();
    for (let rank = 0; rank < this.ranks; rank++) {
      const atMs = start + this.between(0, this.evictMs);
      this.made.push({ kind: "deaf", atMs, rank, forMs: forMs + this.between(0, this.evictMs) });
    }
  }

  bitRot(): void {
    const back = this.chance(0.3) ? 0 : this.between(1, 40);
    const bit = this.random.nextUint32();
    this.made.push({ kind: "bit-rot", atMs: this.when(), back, bit });
  }

  hiccup(kinds: readonly Hiccup[]): void {
    const forMs = this.between(5, Math.floor(this.evictMs / 4));
    const of = kinds[this.random.nextBelow(kinds.length)];
    this.made.push({ kind: "hiccup", atMs: this.when(), rank: this.anyone(), forMs, of });
  }

  freezeRank(): void {
    const { made } = this;
    made.push({
      kind: "freeze-rank",
      atMs: this.when(),
      rank: this.anyone(),
      forMs: this.duration(),
    });
  }

  private outage(): Outage {
    return this.chance(0.5) ? "EIO" : this.chance(0.5) ? "ESTALE" : "hang";
  }

  storageAway(): void {
    const all = this.chance(0.5);
    const ranks = Array.from({ length: this.ranks }, (_, rank) => rank);
    const cut = ranks.filter(() => all || this.chance(0.4));
    const forMs = this.chance(0.7) ? this.between(50, 1500) : this.between(1500, 4000);
    const how = this.outage();
    this.made.push({
      kind: "storage-away",
      atMs: this.when(),
      ranks: cut,
      forMs,
      how,
    });
  }

  /** For everybody, and for as long as it takes to have W rounds in no record. */
  longOutage(): void {
    this.everybodysStorage(this.between(1800, 2400), this.chance(0.5) ? "hang" : "ESTALE");
  }

  /** Is away from then on. Not by EIO: ranks of a single host would stop in doubt. */
  private everybodysStorage(forMs: number, how: "hang" | "ESTALE"): number {
    const ranks = Array.from({ length: this.ranks }, (_, rank) => rank);
    const atMs = this.between(100, Math.max(101, this.untilMs - forMs));
    this.made.push({ kind: "storage-away", atMs, ranks, forMs, how });
    return atMs;
  }

  jobDeath(): void {
    const atMs = this.when();
    if (this.chance(0.5)) this.made.push({ kind: "job-crash", atMs, power: this.chance(0.7) });
    else {
      const steps = this.between(1, 40);
      this.made.push({ kind: "step-crash", atMs, steps, after: this.chance(0.5) });
    }
  }

  secondJob(): void {
    this.made.push({ kind: "second-job", atMs: this.when(), ranks: this.between(1, 2) });
  }

  /** All of the job stop for longer than a newcomer has to wait. */
  frozenJob(takeoverMs: number): void {
    const atMs = this.when();
    this.made.push({ kind: "freeze", atMs, forMs: takeoverMs * 3 });
    this.made.push({ kind: "second-job", atMs: atMs + 10, ranks: this.ranks });
  }
}
