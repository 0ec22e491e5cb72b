/** What happens when an incident of the plan falls due: to the job of that time, its ranks or the disk. */
import type { DiskFaults } from "./disk-faults.ts";
import type { Incident } from "./incidents.ts";
import type { SimulatedJob } from "./job.ts";
import type { RankProcess, World } from "./rank-process.ts";

/** Those who hear of more than one job. */
export interface Fates {
  /** The job that users talk to. */
  job(): SimulatedJob;
  startNewcomer(ranks: number): void;
  endJobs(withHosts: boolean): void;
  losePower(): void;
}

type OfRanks = Extract<
  Incident,
  { rank: number } | { ranks: readonly number[] } | { mute: number } | { parts: number }
>;

export class Misfortunes {
  /** Files in which a bit has turned, and what they held. */
  readonly rotten = new Map<string, Uint8Array>();
  private readonly world: World;
  private readonly diskFaults: DiskFaults;
  private readonly fates: Fates;

  constructor(world: World, diskFaults: DiskFaults, fates: Fates) {
    this.world = world;
    this.diskFaults = diskFaults;
    this.fates = fates;
  }

  /** False: there is nobody yet whom it could befall. */
  happen(incident: Incident): boolean {
    if (!this.canHappen(incident)) return false;
    const { world } = this;
    world.trace.add(`incident ${JSON.stringify(incident)}`);
    const { kind, ...how } = incident;
    world.faults.happened(kind);
    world.timeline.note(`fault: ${kind} ${JSON.stringify(how)}`);
    this.bringAbout(incident);
    return true;
  }

  private canHappen(incident: Incident): boolean {
    const job = this.fates.job();
    switch (incident.kind) {
      case "recorder-crash":
      case "step-crash":
      case "job-crash":
        return true;
      case "bit-rot":
        return job.up && this.executed >= incident.back;
      default:
        return job.up && job.live.length > 0;
    }
  }

  /** Of what nobody has executed nobody could say which bytes it must have. */
  private get executed(): number {
    return Math.max(-1, ...this.fates.job().live.map(({ chain }) => chain?.slot ?? -1));
  }

  private bringAbout(incident: Incident): void {
    const { diskFaults, fates } = this;
    const job = fates.job();
    switch (incident.kind) {
      case "recorder-crash":
        return diskFaults.crashAtChange(incident.changes, incident.after);
      case "step-crash":
        return diskFaults.crashAtStep(incident.steps, incident.after);
      case "job-crash":
        return incident.power ? fates.losePower() : fates.endJobs(false);
      case "second-job":
        return fates.startNewcomer(incident.ranks);
      case "bit-rot":
        return this.rot(incident.back, incident.bit);
      case "freeze":
        return job.freeze(incident.forMs);
      default:
        return this.befall(job, incident);
    }
  }

  /** One rank, or some. */
  private befall(job: SimulatedJob, incident: OfRanks): void {
    const { live } = job;
    const one = (rank: number) => live[rank % live.length];
    const among = (ranks: readonly number[]) =>
      live.filter(({ rank }) => ranks.includes(rank % this.world.plan.ranks));
    switch (incident.kind) {
      case "rank-crash":
        return this.rankDies(one(incident.rank), incident.host);
      case "rank-exit":
        return this.rankExits(one(incident.rank));
      case "host-crash": {
        const { host } = one(incident.rank).transport;
        const there = live.filter(({ transport }) => transport.host === host);
        for (const process of there) this.rankDies(process, true);
        return;
      }
      case "partition":
        return job.partition(among(incident.ranks), incident.forMs);
      case "shatter":
        for (let part = 0; part < incident.parts; part++)
          job.partition(
            live.filter((_, index) => index % incident.parts === part),
            incident.forMs,
          );
        return;
      case "one-way": {
        const mute = one(incident.mute);
        const deaf = one(incident.deaf);
        if (mute !== deaf) deaf.deafen(mute.rank, incident.forMs);
        return;
      }
      case "deaf": {
        const deaf = one(incident.rank);
        for (const { rank } of live) deaf.deafen(rank, incident.forMs);
        return;
      }
      case "hiccup":
        return this.hiccup(one(incident.rank), job, incident);
      case "freeze-rank":
        return one(incident.rank).freeze(incident.forMs);
      case "storage-away":
        for (const process of among(incident.ranks))
          process.loseStorage(incident.forMs, incident.how);
        return;
    }
  }

  private hiccup(
    process: RankProcess,
    job: SimulatedJob,
    { forMs, of }: Extract<Incident, { kind: "hiccup" }>,
  ): void {
    if (of === "process") process.freeze(forMs);
    else if (of === "storage") process.loseStorage(forMs, "EIO");
    else for (const { rank } of job.live) process.deafen(rank, forMs);
  }

  private rot(back: number, bit: number): void {
    const { checkers, disk, ways } = this.world;
    const { oracle } = checkers;
    oracle.advance();
    const path = oracle.pathOf(this.executed - back);
    const { bytes } = disk.find(path)!;
    if (!this.rotten.has(path)) this.rotten.set(path, bytes.slice());
    disk.flipBit(path, (bit >>> 3) % bytes.length, bit & 7);
    ways.took("bit rot");
  }

  /** Before the epoch a job ends with its first dead rank. */
  rankDies(process: RankProcess, withHost: boolean): void {
    const job = this.fates.job();
    if (!process.alive) return;
    if (!job.up) this.fates.endJobs(withHost);
    else job.crash(process.rank, withHost);
  }

  /** Its exit routine runs: it says BYE, which leaves if there is time for it. */
  private rankExits(process: RankProcess): void {
    if (!process.clock.frozen) process.loop?.statusToAll({ kind: "bye", json: "{}" });
    this.world.clock.after(2, () => this.rankDies(process, false));
  }
}
