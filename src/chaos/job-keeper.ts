/**
 * The job of a chaos run through all its deaths: starts it, starts it again where nobody else would, and
 * tells an end that was meant from one that was not. Also gathers what a job gives away about itself
 * while it runs: heads, and which process has which incarnation.
 */
import type { ToldHead } from "./audit.ts";
import type { Loss } from "./chain-facts.ts";
import { ChaosJob, type JobPlaces, type JobSpec, type LiveRank } from "./launch.ts";

/** For a launcher that nobody watches over, between its end and the next one. */
const RESTART_MS = 500;
/** Ends of unsupervised jobs that are borne: more is no fault that was injected. */
const RESTARTS_MAX = 20;

export interface KeeperOptions {
  readonly spec: Omit<JobSpec, "places">;
  readonly ledger: string;
  readonly ledgerKey: string;
  /** Directories for the files of jobs, one after the other. */
  readonly runs: readonly string[];
  say(text: string): void;
}

export class JobKeeper {
  readonly heads: ToldHead[] = [];
  readonly losses: Loss[] = [];
  /** When ranks ended by themselves: by no event, and in a job that was to go on. */
  readonly gone: number[] = [];
  /** Ends of jobs that nobody meant, a sentence each. */
  readonly problems: string[] = [];
  readonly notes: string[] = [];
  /** A job ended for good, and nobody starts it again. */
  readonly given = Promise.withResolvers<void>();
  /** All that there were, in order. */
  readonly jobs: ChaosJob[] = [];
  job: ChaosJob;
  private readonly options: KeeperOptions;
  private readonly incarnations = new Map<number, string>();
  private readonly lost = new Set<number>();
  /** We have ended a rank that was no member yet: the others of its start cannot go on, and are ended. */
  private brokeStart = false;
  private readonly expected = new Set<ChaosJob>();
  private lastHead = "";
  private lastRanks: LiveRank[] = [];
  private runsUsed = 0;
  private restarts = 0;
  private closing = false;

  constructor(options: KeeperOptions) {
    this.options = options;
    this.job = this.start();
  }

  /** Another job on the same ledger, with a run directory of its own; does not become the job. */
  startBeside(ranks: number): ChaosJob {
    this.runsUsed++;
    return this.launch({ ...this.options.spec, ranks });
  }

  /** From now on this one is the job. */
  adopt(job: ChaosJob): void {
    this.expected.delete(job);
    this.job = job;
    this.lastRanks = [];
    this.watch(job);
  }

  /** The end of this one is meant. */
  expectEnd(job = this.job): void {
    this.expected.add(job);
  }

  /** The next job in the place of the last, which has ended. */
  startNext(): void {
    this.lastRanks = [];
    this.job = this.start();
  }

  /** Ranks that are killed or stopped by us: what was agreed may be lost with them. */
  lose(ranks: readonly { pid: number }[]): Loss[] {
    this.look();
    const at = Date.now();
    const losses = ranks.map(({ pid }): Loss => ({ at, incarnation: this.incarnations.get(pid) }));
    this.losses.push(...losses);
    for (const { pid } of ranks) {
      this.lost.add(pid);
      if (!this.incarnations.has(pid)) this.brokeStart = true;
    }
    return losses;
  }

  /** The ranks of `losses` go on. */
  regain(ranks: readonly { pid: number }[], losses: readonly Loss[]): void {
    for (const loss of losses) loss.until = Date.now();
    // One that was killed while it was stopped stays lost: only who lives can go on.
    const living = new Set(this.job.ranks().map(({ pid }) => pid));
    for (const { pid } of ranks) if (living.has(pid)) this.lost.delete(pid);
  }

  /** Looks at the job: call it a few times a second. Answers the ranks that live. */
  look(): LiveRank[] {
    const view = this.job.view();
    for (const { pid, incarnation } of view?.members ?? []) this.incarnations.set(pid, incarnation);
    if (view !== undefined && view.head !== this.lastHead) {
      this.lastHead = view.head;
      this.heads.push({ who: "status.json", slot: view.slot, head: view.head });
    }
    const ranks = this.job.ranks();
    const living = new Set(ranks.map(({ pid }) => pid));
    for (const { pid, process } of this.lastRanks) {
      if (living.has(pid) || this.lost.has(pid)) continue;
      const incarnation = this.incarnations.get(pid);
      this.losses.push({ at: Date.now(), incarnation });
      if (incarnation === undefined && this.brokeStart) continue;
      if (!this.closing && !this.expected.has(this.job)) {
        this.gone.push(Date.now());
        this.options.say(`process ${process} (pid ${pid}) has ended`);
      }
    }
    this.lastRanks = ranks;
    return ranks;
  }

  /** A clean stop of all; answers whether the job ended by itself. */
  async close(graceMs: number): Promise<boolean> {
    this.closing = true;
    this.expectEnd();
    this.job.drain();
    return this.job.end(graceMs);
  }

  async kill(): Promise<void> {
    this.closing = true;
    this.expectEnd();
    await this.job.killAll();
    await this.job.end(0);
  }

  private start(): ChaosJob {
    const job = this.launch(this.options.spec);
    this.watch(job);
    return job;
  }

  private launch(spec: Omit<JobSpec, "places">): ChaosJob {
    const { ledger, ledgerKey, runs } = this.options;
    const places: JobPlaces = { ledger, ledgerKey, run: runs[this.runsUsed] };
    const job = new ChaosJob({ ...spec, places });
    this.jobs.push(job);
    return job;
  }

  private watch(job: ChaosJob): void {
    void job.exited.then(async (code) => {
      if (this.closing || this.expected.has(job) || job !== this.job) return;
      await job.end(0);
      if (job.spec.supervised) {
        this.problems.push(`baash run ended by itself with code ${code}`);
        this.given.resolve();
      } else if (++this.restarts > RESTARTS_MAX) {
        this.problems.push(`the job ended for the ${this.restarts}th time, with code ${code}`);
        this.given.resolve();
      } else {
        this.notes.push(`the job ended with code ${code} and was started again`);
        this.options.say(`the job ended with code ${code}: starting it again`);
        await Bun.sleep(RESTART_MS);
        if (!this.closing) this.startNext();
      }
    });
  }
}
