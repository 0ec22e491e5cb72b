/**
 * One random run from a seed: networks with their own temper, storage troubles, deaths, suspicions
 * true and false, seals by one author or several at once, newcomers. Safety is checked at the end,
 * and that everything pending gets settled within bounded virtual time once the faults stop.
 */
import { Random } from "../../src/base/random.ts";
import { checkSafety } from "./consensus-checks.ts";
import { Cluster } from "./consensus-cluster.ts";
import { incarnationOf } from "./consensus-log.ts";
import type { Member, Network } from "./consensus-parts.ts";

const FAULTS_END = 2000;
/** Virtual time for what is pending: each open round may need every timeout and every turn. */
const SETTLE_MS = 40_000;
const POLL_MS = 200;
/** How long a death goes unnoticed, and how often whoever leads tries to be rid of the dead. */
const SUSPECT_MS = 300;
const EVICT_MS = 250;

/** A random temper of the network: how often messages of each link are late or lost. */
function stormy(random: Random, ranks: number): Network {
  const below = (n: number) => Math.floor(random.nextFloat() * n);
  const lossy = random.nextFloat() < 0.7 ? random.nextFloat() ** 2 : 0;
  const late = random.nextFloat() * 0.4;
  const span = 1 + below(200);
  const cut = random.nextFloat() < 0.3 ? below(ranks) : -1;
  const deaf = random.nextFloat() < 0.2 ? below(ranks) : -1;
  const half = random.nextFloat() < 0.2 ? 1 + below(ranks) : 0;
  return ({ from, to }) => {
    if (from === cut || to === deaf || random.nextFloat() < lossy) return undefined;
    if (from < half !== to < half) return undefined;
    return random.nextFloat() < late ? 1 + below(span) : 1 + below(4);
  };
}

/** What a run is made of: drawn once, so that a failure can be told. */
export interface Weather {
  readonly ranks: number;
  readonly killed: number;
  /** Epochs may end: members are suspected, evicted and let in. */
  readonly seals: boolean;
}

function drawWeather(random: Random): Weather {
  const below = (n: number) => Math.floor(random.nextFloat() * n);
  const ranks = 1 + below(6);
  const seals = random.nextFloat() < 0.7;
  // Without seals R members have to live; with them one that reaches storage is enough.
  const most = seals && random.nextFloat() < 0.3 ? ranks - 1 : ranks - Math.ceil(ranks / 2);
  return { ranks, seals, killed: below(most + 1) };
}

class Storm {
  private readonly random: Random;
  readonly weather: Weather;
  readonly cluster: Cluster;
  /** Processes that each process takes for dead. */
  private readonly believed = new Map<number, Set<number>>();

  constructor(seed: number) {
    const random = (this.random = new Random(seed));
    const { ranks } = (this.weather = drawWeather(random));
    const rare = (chance: number, most: number, usual: number) => () =>
      this.below(random.nextFloat() < chance ? most : usual);
    const storage = random.nextFloat();
    this.cluster = new Cluster({
      ranks,
      depth: 1 + this.below(4),
      network: stormy(random, ranks),
      storageOn: storage < 0.7 ? "alert" : storage < 0.9 ? "no-majority" : "always",
      delays: {
        mine: () => 1 + rare(0.1, 400, 8)(),
        validate: rare(0.1, 150, 3),
        link: () => 1 + rare(0.2, 120, 6)(),
        sync: () => 1 + rare(0.2, 120, 6)(),
        read: () => 1 + this.below(10),
        regroup: () => 1 + rare(0.2, 200, 10)(),
      },
    });
    this.cluster.onEpoch = (rank) => this.after(0, () => this.tellSuspects(rank));
  }

  private below(n: number): number {
    return Math.floor(this.random.nextFloat() * n);
  }
  private chance(p: number): boolean {
    return this.random.nextFloat() < p;
  }
  private after(ms: number, run: () => void): void {
    this.cluster.after(ms, run);
  }
  private sometime(run: () => void): void {
    this.after(this.below(FAULTS_END), run);
  }

  // Faults.

  arrange(): void {
    const { cluster } = this;
    const { killed, seals } = this.weather;
    if (killed === 0) this.arrangeLies();
    for (let rank = 0; rank < killed; rank++) this.arrangeDeath(cluster.members[rank]);
    for (const member of cluster.members) this.arrangeStorage(member);
    const demands = 1 + this.below(this.chance(0.1) ? 150 : 24);
    for (let i = 0; i < demands; i++)
      this.sometime(() => {
        const rank = this.below(cluster.members.length);
        cluster.input(rank, { type: "demand" });
      });
    if (seals) this.arrangeSeals();
    this.every(POLL_MS, () => {
      for (const { rank } of cluster.members) cluster.input(rank, { type: "poll" });
    });
  }

  private every(ms: number, run: () => void): void {
    this.after(ms, () => {
      run();
      this.every(ms, run);
    });
  }

  /**
   * An equivocator, and an author who says yes to what all others find bad, are faults beyond those
   * of majority mode: harmless to safety, but with members dead as well too few answers are left.
   */
  private arrangeLies(): void {
    const { cluster } = this;
    if (this.chance(0.3)) {
      cluster.verdict = (_rank, round, author) => {
        if ((author + round) % 7 === 3) return "no";
        // Now and then a copy is damaged on its way to one rank.
        if (this.chance(0.03)) return "no";
        return this.chance(0.1) ? "abstain" : "yes";
      };
    }
    if (this.chance(0.3)) {
      const liar = this.below(this.weather.ranks);
      cluster.twin = (author, round, to) => author === liar && (to + round) % 2 === 0;
    }
  }

  private arrangeDeath(member: Member): void {
    const how = this.below(4);
    this.sometime(() => {
      if (how === 0) this.cluster.crash(member.rank);
      else member.dieAt = (["link", "linked", "pulled"] as const)[how - 1];
    });
  }

  private arrangeStorage(member: Member): void {
    if (this.chance(0.2)) {
      const from = this.below(FAULTS_END);
      this.after(from, () => (member.storageOff = true));
      this.after(from + this.below(FAULTS_END - from), () => (member.storageOff = false));
    }
    member.mumbles = this.chance(0.1);
  }

  // Suspicions, and what follows from them: a crude fault monitor that is often wrong.

  private arrangeSeals(): void {
    const { cluster } = this;
    for (let i = this.below(4); i > 0; i--)
      this.sometime(() => this.suspect(this.some(), this.some()));
    for (let i = this.below(3); i > 0; i--)
      this.sometime(() => cluster.input(this.some(), { type: "alert" }));
    for (let i = this.below(4); i > 0; i--)
      this.sometime(() => {
        this.change(this.some());
        if (this.chance(0.3)) this.change(this.some());
      });
    for (let i = this.below(3); i > 0; i--) this.sometime(() => void cluster.addProcess());
    this.every(EVICT_MS, () => {
      for (const { rank, dead } of cluster.members)
        if (dead) this.after(SUSPECT_MS, () => this.suspectEverywhere(rank));
      if (cluster.now > FAULTS_END) this.lead();
    });
  }

  /** Any process that is in an epoch. */
  private some(): number {
    const within = this.cluster.members.filter(({ parts }) => parts.length > 0);
    return within[this.below(within.length)].rank;
  }

  private suspect(by: number, rank: number): void {
    const set = this.believed.get(by) ?? new Set();
    this.believed.set(by, set);
    if (set.has(rank)) return;
    set.add(rank);
    this.tellSuspects(by);
  }

  private suspectEverywhere(rank: number): void {
    for (const member of this.cluster.members) this.suspect(member.rank, rank);
  }

  private suspectsOf(rank: number): number[] {
    const processes = this.cluster.members[rank].parts.at(-1)?.epoch.processes ?? [];
    const believed = this.believed.get(rank) ?? new Set();
    return [...processes.keys()].filter((place) => believed.has(processes[place]));
  }

  private tellSuspects(rank: number): void {
    this.cluster.input(rank, { type: "suspects", ranks: this.suspectsOf(rank) });
  }

  private change(rank: number): void {
    const { members, records } = this.cluster;
    const outside = members.filter(({ parts, dead }) => parts.length === 0 && !dead);
    const waiting = outside.filter((member) => !records.everMember(member.rank));
    const admit = waiting.map((member) => incarnationOf(member.rank));
    this.cluster.input(rank, { type: "change", evict: this.suspectsOf(rank), admit });
  }

  /** Once the faults are over suspicions are true, and the first living member acts on them. */
  private lead(): void {
    const { newestEpoch } = this.cluster.records;
    const leader = this.cluster.living().find(({ parts }) => parts.at(-1)?.epoch === newestEpoch);
    if (leader === undefined) return;
    if (this.deadMembers()) this.change(leader.rank);
  }

  private deadMembers(): boolean {
    const { processes } = this.cluster.records.newestEpoch;
    return processes.some((process) => this.cluster.members[process].dead);
  }

  /** L1, L2, L4, and L5 where anybody is left to see to it. */
  settled(): boolean {
    const evicted =
      !this.weather.seals || this.cluster.living().length === 0 || !this.deadMembers();
    return evicted && this.cluster.quiet();
  }

  endFaults(): void {
    const { cluster } = this;
    cluster.network = () => 1 + this.below(4);
    for (const member of cluster.members) {
      member.storageOff = false;
      member.mumbles = false;
      // A rank that is to die in its next append may never get to it: it dies now.
      if (member.dieAt !== undefined && !member.dead) cluster.crash(member.rank);
    }
    for (const [by, set] of this.believed) {
      for (const rank of set) if (!cluster.members[rank].dead) set.delete(rank);
      this.tellSuspects(by);
    }
  }
}

export function runSeed(seed: number, watch?: (cluster: Cluster) => void): Cluster {
  const storm = new Storm(seed);
  const { cluster, weather } = storm;
  watch?.(cluster);
  storm.arrange();
  cluster.run(FAULTS_END);
  storm.endFaults();
  const settled = cluster.run(FAULTS_END + SETTLE_MS, () => storm.settled());
  checkSafety(cluster);
  if (!settled) {
    const where = cluster.members.map(({ rank, dead, halted, parts }) => {
      const { core, epoch, sealed } = parts.at(-1) ?? {};
      const state = dead ? "dead" : (halted ?? (core?.isFrozen ? "frozen" : ""));
      return `${rank} ${state} epoch ${epoch?.number}${sealed ? " (sealed)" : ""} slot ${core?.headSlot} settled ${core?.settled} open ${core?.unsettled}`;
    });
    const what = JSON.stringify(weather);
    throw new Error(`${what}: not settled ${SETTLE_MS} ms after the faults: ${where.join("; ")}`);
  }
  return cluster;
}
