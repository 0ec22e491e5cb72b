/**
 * Lets a plan's events happen to a job, each at its time, and notes what really happened when: the
 * report measures from these moments, not from the plan's.
 */

import type { JobKeeper } from "./job-keeper.ts";
import type { LiveRank } from "./launch.ts";
import type { Incident } from "./measure.ts";
import { type ChaosEvent, describeEvent, storageRules } from "./plan.ts";
import { signal } from "./processes.ts";
import type { StorageControl, StorageRule } from "./storage-control.ts";

/** For a clean stop between two jobs. */
const DRAIN_MS = 60_000;
/** For a second job to say that the ledger is in use, or for the first to see that it was taken. */
const LEAVE_MS = 60_000;

export interface DirectorOptions {
  readonly keeper: JobKeeper;
  /** Where the plan has storage events. */
  readonly control: StorageControl | undefined;
  say(text: string): void;
}

/** From the moment that it really began: looking for processes takes its time. */
type Span = Pick<Incident, "at" | "end">;
type Of<K extends ChaosEvent["do"]> = Extract<ChaosEvent, { do: K }>;

export class Director {
  readonly incidents: Incident[] = [];
  /** What did not go as it has to, a sentence each. */
  readonly problems: string[] = [];
  readonly notes: string[] = [];
  private readonly options: DirectorOptions;
  private readonly storage = new Map<ChaosEvent, StorageRule[]>();
  private readonly stopped = new Set<LiveRank>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();

  constructor(options: DirectorOptions) {
    this.options = options;
  }

  /** Resolves when all have happened and are over. */
  async perform(events: readonly ChaosEvent[]): Promise<void> {
    await Promise.all(
      events.map(async (event) => {
        await this.wait(1000 * event.at);
        await this.one(event);
      }),
    );
  }

  /** Ends at once what still lasts: stopped ranks go on, storage works. */
  release(): void {
    for (const timer of this.timers) clearTimeout(timer);
    for (const rank of this.stopped) signal(rank, "SIGCONT");
    this.storage.clear();
    this.options.control?.apply([]);
  }

  private wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        resolve();
      }, ms);
      this.timers.add(timer);
    });
  }

  private async one(event: ChaosEvent): Promise<void> {
    const span = await this.act(event);
    this.incidents.push({ text: describeEvent(event), ...span });
    this.incidents.sort((a, b) => a.at - b.at);
  }

  private act(event: ChaosEvent): Promise<Span> {
    switch (event.do) {
      case "kill":
        return this.kill(event);
      case "stop":
        return this.stop(event);
      case "storage":
        return this.failStorage(event);
      case "kill-job":
        return this.killJob(event);
      case "restart":
        return this.restart();
      case "second-job":
        return this.secondJob(event);
    }
  }

  /** Distinct ranks of those that live. */
  private at(places: readonly number[]): LiveRank[] {
    const ranks = this.options.keeper.job.ranks();
    const chosen = new Set(ranks.length === 0 ? [] : places.map((place) => place % ranks.length));
    return [...chosen].map((place) => ranks[place]);
  }

  private name(ranks: readonly LiveRank[]): string {
    const names = ranks.map(({ process, pid }) => `${process} (pid ${pid})`);
    return `${ranks.length === 1 ? "process" : "processes"} ${names.join(", ") || "none"}`;
  }

  private async kill({ places }: Of<"kill">): Promise<Span> {
    const ranks = this.at(places);
    this.options.keeper.lose(ranks);
    const at = Date.now();
    for (const rank of ranks) signal(rank, "SIGKILL");
    this.options.say(`SIGKILL: ${this.name(ranks)}`);
    return { at, end: at };
  }

  private async stop({ places, for: seconds }: Of<"stop">): Promise<Span> {
    const ranks = this.at(places);
    const { keeper, say } = this.options;
    const losses = keeper.lose(ranks);
    const at = Date.now();
    for (const rank of ranks) {
      signal(rank, "SIGSTOP");
      this.stopped.add(rank);
    }
    say(`SIGSTOP: ${this.name(ranks)}`);
    await this.wait(1000 * seconds);
    for (const rank of ranks) {
      signal(rank, "SIGCONT");
      this.stopped.delete(rank);
    }
    keeper.regain(ranks, losses);
    say(`SIGCONT: ${this.name(ranks)}`);
    return { at, end: Date.now() };
  }

  private async failStorage(event: Of<"storage">): Promise<Span> {
    const { control, say } = this.options;
    const pids = event.places && this.at(event.places).map(({ pid }) => pid);
    const { processes, untrapped } = control!.attached;
    if (processes === 0) this.problems.push("no rank has its storage under our control");
    if (untrapped > 0) this.notes.push(`${untrapped} ranks open files past the faults of storage`);
    const before = control!.hits;
    this.storage.set(event, storageRules(event, pids));
    const at = Date.now();
    this.applyStorage();
    say(describeEvent(event));
    await this.wait(1000 * event.for);
    this.storage.delete(event);
    this.applyStorage();
    const end = Date.now();
    const hits = control!.hits - before;
    this.notes.push(`storage ${event.fault}: ${hits} calls were struck`);
    say(`storage is well again; ${hits} calls were struck`);
    return { at, end };
  }

  private applyStorage(): void {
    this.options.control!.apply([...this.storage.values()].flat());
  }

  private async killJob({ supervisor }: Of<"kill-job">): Promise<Span> {
    const { keeper, say } = this.options;
    const { job } = keeper;
    const ranks = job.ranks();
    keeper.lose(ranks);
    const isWhole = supervisor || !job.spec.supervised;
    if (isWhole) keeper.expectEnd(job);
    say(`SIGKILL: the whole job, ${this.name(ranks)}`);
    const at = Date.now();
    if (!isWhole) {
      job.killRanks();
      return { at, end: Date.now() };
    }
    await job.killAll();
    await job.end(0);
    say("starting the next job");
    keeper.startNext();
    return { at, end: Date.now() };
  }

  private async restart(): Promise<Span> {
    const { keeper, say } = this.options;
    const { job } = keeper;
    keeper.expectEnd(job);
    say("a clean stop");
    const at = Date.now();
    job.drain();
    if (!(await job.end(DRAIN_MS))) {
      this.problems.push(`the job did not stop within ${DRAIN_MS / 1000} s of being asked to`);
    }
    say("starting the next job");
    keeper.startNext();
    return { at, end: Date.now() };
  }

  private async secondJob(event: Of<"second-job">): Promise<Span> {
    const { keeper, say } = this.options;
    const first = keeper.job;
    if (event.first === "alive") return this.besideAlive(event);
    keeper.expectEnd(first);
    const ranks = first.ranks();
    keeper.lose(ranks);
    const at = Date.now();
    if (event.first === "dead") {
      await first.killAll();
      await first.end(0);
      say("the first job is dead: starting a second one on its ledger");
      keeper.adopt(keeper.startBeside(event.ranks));
      return { at, end: Date.now() };
    }
    first.signalRanks("SIGSTOP");
    for (const rank of ranks) this.stopped.add(rank);
    say("the first job is frozen: starting a second one on its ledger");
    const second = keeper.startBeside(event.ranks);
    keeper.adopt(second);
    await this.wait(1000 * event.for);
    first.signalRanks("SIGCONT");
    for (const rank of ranks) this.stopped.delete(rank);
    say("the first job wakes up");
    // One of them has the ledger now: the first if it was not frozen for long enough.
    const { promise: late, resolve } = Promise.withResolvers<"late">();
    const timer = setTimeout(() => resolve("late"), LEAVE_MS);
    const left = await Promise.race([
      first.exited.then(() => "first" as const),
      second.exited.then(() => "second" as const),
      late,
    ]);
    clearTimeout(timer);
    if (left === "late") {
      this.problems.push(`both jobs were there ${LEAVE_MS / 1000} s after the first woke up`);
      await first.killAll();
    }
    this.notes.push(
      `the ${left === "second" ? "second" : "first"} job left the ledger to the other`,
    );
    if (left === "second") keeper.adopt(first);
    await (left === "second" ? second : first).end(0);
    return { at, end: Date.now() };
  }

  private async besideAlive({ ranks }: Of<"second-job">): Promise<Span> {
    const { keeper, say } = this.options;
    say("starting a second job on the same ledger");
    const at = Date.now();
    const second = keeper.startBeside(ranks);
    if (await second.end(LEAVE_MS)) {
      const code = await second.exited;
      this.notes.push(`the second job went away with code ${code}`);
      say(`the second job went away with code ${code}`);
    } else this.problems.push(`the second job did not go away within ${LEAVE_MS / 1000} s`);
    return { at, end: Date.now() };
  }
}
