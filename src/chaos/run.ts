/**
 * One chaos run from start to end: places, job, clients, faults, and then whether the ledger kept its
 * promises, before the job ends and after. All that a person needs to look into a failure stays.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { BaashError, EXIT } from "../base/errors.ts";
import { findDisk } from "../cli/ycsb/places.ts";
import { listSockets } from "../client/failover.ts";
import { type AuditReport, audit, type Check, type FinalReport } from "./audit.ts";
import { Clients } from "./clients.ts";
import { Director } from "./director.ts";
import { endCodesOf, readEndCodes, unexplainedEnds } from "./end-codes.ts";
import { JobKeeper } from "./job-keeper.ts";
import { type Journal, readJournal } from "./journal.ts";
import { resultsOf, socketsOf } from "./launch.ts";
import { type Figures, figuresOf, type Incident } from "./measure.ts";
import type { Plan } from "./plan.ts";
import { StorageControl } from "./storage-control.ts";
import { Ticker } from "./ticker.ts";

export interface RunOptions {
  /** The command that runs this plan again, for people. */
  readonly command: string;
  /** No lines while it runs. */
  readonly quiet: boolean;
  /** Everything stays, also after success. */
  readonly keep: boolean;
}

export interface RunReport {
  readonly good: boolean;
  readonly plan: Plan;
  readonly command: string;
  readonly figures: Figures;
  /** With the job still there, and after its clean end. */
  readonly before: AuditReport;
  readonly after: AuditReport;
  /** All that is not one of the audits': liveness, the clean end, jobs that gave up. */
  readonly checks: readonly Check[];
  readonly notes: readonly string[];
  readonly connections: number;
  /** Ranks that ended by themselves, by no event of the plan. */
  readonly gone: number;
  /** Where everything is, if it was kept. */
  readonly kept: string | undefined;
}

/** For the first transactions to be final: ranks start, connect, form the epoch. */
const START_MS = 180_000;
/** After the load, for every transaction to have its last word: a restart and a takeover fit in. */
const SETTLE_MS = 90_000;
/** For a clean stop. */
const END_MS = 60_000;
/** The load goes on so long after transactions are agreed again. */
const AFTERMATH_MS = 3000;
/** A restart with a takeover on a busy machine. */
const RECOVERY_MS = 60_000;
const LOOK_MS = 100;
const HEARD_MS = 500;

export async function runPlan(plan: Plan, options: RunOptions): Promise<RunReport> {
  const root = mkdtempSync(join(await findDisk(false), "baash-chaos-"));
  writeFileSync(join(root, "plan.json"), `${JSON.stringify(plan, null, 2)}\n`);
  const run = new ChaosRun(plan, root, options);
  const onSignal = (signal: string) => void run.abort(signal);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, onSignal);
  let report: RunReport | undefined;
  try {
    report = await run.run();
    return report;
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"]) process.off(signal, onSignal);
    await run.tidy();
    if (report?.kept === undefined && report !== undefined) {
      rmSync(root, { recursive: true, force: true });
    } else {
      process.stderr.write(`kept: ledger, key, journals, logs and plan.json in ${root}\n`);
    }
  }
}

class ChaosRun {
  private readonly plan: Plan;
  private readonly root: string;
  private readonly options: RunOptions;
  private readonly ledger: string;
  private readonly runs: readonly string[];
  private readonly control: StorageControl | undefined;
  private readonly keeper: JobKeeper;
  private readonly clients: Clients;
  private readonly director: Director;
  private readonly ticker: Ticker;
  private readonly aborted = Promise.withResolvers<never>();
  private isOver = false;

  constructor(plan: Plan, root: string, options: RunOptions) {
    this.plan = plan;
    this.root = root;
    this.options = options;
    this.ledger = join(root, "ledger");
    this.aborted.promise.catch(() => {}); // whoever waits hears it
    const journals = join(root, "journals");
    mkdirSync(journals);
    const runs = runDirectories(plan, root);
    this.runs = runs;
    if (plan.events.some((event) => event.do === "storage")) {
      this.control = new StorageControl(join(root, "storage-control"), this.ledger);
    }
    const say = (text: string) => this.ticker.say(text);
    const { fault, supervised, flags } = plan.job;
    const spec = {
      ranks: plan.ranks,
      supervised,
      flags: ["--supply", "1000000000", ...flags],
      environment: { ...this.control?.environment, ...(fault && { BAASH_FAULT: fault }) },
      onText: say,
    };
    const { ledger, control } = this;
    const ledgerKey = join(root, "ledger-key.pem");
    const sockets = runs.map((run) => socketsOf({ run }));
    this.clients = new Clients({ plan, sockets, journals, onText: say });
    // Whoever it starts speaks later than this constructor ends.
    this.keeper = new JobKeeper({ spec, ledger, ledgerKey, runs, say });
    const { keeper, clients } = this;
    this.ticker = new Ticker({ keeper, clients, quiet: options.quiet });
    this.director = new Director({ keeper, control, say });
  }

  async run(): Promise<RunReport> {
    await this.within(START_MS, this.connect());
    const start = Date.now();
    this.clients.go();
    this.ticker.start();
    const performed = this.director.perform(this.plan.events);
    const lasted =
      this.plan.events.length === 0 ? undefined : performed.then(() => this.aftermath());
    const load = Promise.all([Bun.sleep(1000 * this.plan.seconds), lasted]);
    await Promise.race([load, this.keeper.given.promise, this.aborted.promise]);
    const end = Date.now();
    this.director.release();
    const isSettled = await this.race(this.clients.stop(SETTLE_MS));
    await this.race(this.clients.close());
    const journals = this.clients.journals.map(readJournal);
    this.keeper.look();
    const before = this.audit(journals, []);
    const isEnded = await this.race(this.keeper.close(END_MS));
    this.ticker.stop();
    const reports = readReports(resultsOf(this.keeper.job.spec.places));
    const after = this.audit(journals, reports, true);
    const checks = [...this.liveness(isSettled, isEnded, before), this.ends()];
    const { withheld } = this.clients.counts;
    const good = before.good && after.good && checks.every((each) => each.good);
    return {
      good,
      plan: this.plan,
      command: this.options.command,
      figures: figuresOf({
        clients: journals.map(({ submissions }) => submissions),
        start,
        end,
        offered: this.plan.load.rate,
        incidents: this.incidents(),
      }),
      before,
      after,
      checks,
      notes: [
        ...this.keeper.notes,
        ...this.director.notes,
        ...(withheld > 0 ? [`${withheld} transactions were not offered: too many were open`] : []),
        ...after.notes,
      ],
      connections: this.clients.counts.connections,
      gone: this.keeper.gone.length,
      kept: good && !this.options.keep ? undefined : this.root,
    };
  }

  /** Once every rank listens: who comes first would find few ranks, and all clients at these. */
  private async connect(): Promise<void> {
    const { places } = this.keeper.job.spec;
    const isComplete = () => listSockets([socketsOf(places)]).length >= this.plan.ranks;
    while (!isComplete()) {
      if (this.isOver) return;
      await Bun.sleep(LOOK_MS);
    }
    await this.clients.start();
  }

  /** What was done to the job, and what its ranks did to themselves, in order. */
  private incidents(): Incident[] {
    const own = endsOf(this.keeper.gone);
    return [...this.director.incidents, ...own].sort((a, b) => a.at - b.at);
  }

  /** Until transactions are agreed again, or cannot be expected to be, and a while after that. */
  private async aftermath(): Promise<void> {
    // What was on its way to the clients, and from them to us, says nothing of what comes after.
    await Bun.sleep(HEARD_MS);
    const { agreed } = this.clients.counts;
    const deadline = performance.now() + RECOVERY_MS;
    while (this.clients.counts.agreed === agreed && performance.now() < deadline) {
      await Bun.sleep(LOOK_MS);
    }
    await Bun.sleep(AFTERMATH_MS);
  }

  /** Ends everything, whatever state it is in. */
  async tidy(): Promise<void> {
    this.isOver = true;
    this.ticker.stop();
    this.director.release();
    this.clients.kill();
    await this.keeper.kill();
    this.control?.close();
  }

  abort(signal: string): void {
    const message = `The run was ended by ${signal}: nothing is proven.`;
    this.aborted.reject(new BaashError("CHAOS_ABORTED", message, { exitCode: EXIT.failed }));
  }

  private audit(
    journals: readonly Journal[],
    reports: readonly FinalReport[],
    ended = false,
  ): AuditReport {
    const { heads, losses } = this.keeper;
    return audit({ ledger: this.ledger, journals, heads, reports, losses, ended });
  }

  private liveness(isSettled: boolean, isEnded: boolean, before: AuditReport): Check[] {
    const { unknown } = before.counts;
    const late = `${unknown} transactions had no last word ${SETTLE_MS / 1000} s after the load`;
    const problems = [
      ...(isSettled ? [] : [late]),
      ...this.keeper.problems,
      ...this.director.problems,
    ];
    const stop = isEnded
      ? []
      : [`the job did not stop within ${END_MS / 1000} s of being asked to`];
    return [
      {
        promise: "L2",
        good: problems.length === 0,
        text: "every transaction had its last word",
        problems,
      },
      {
        promise: "STOP",
        good: isEnded,
        text: "the job stopped when it was asked to",
        problems: stop,
      },
    ];
  }

  /** No rank ran into anything that was not done to it. */
  private ends(): Check {
    const told = this.keeper.jobs.map(({ texts }) => texts.join("\n")).flatMap(endCodesOf);
    const codes = [...told, ...readEndCodes(this.runs)];
    const problems = unexplainedEnds(codes, this.plan);
    const { gone } = this.keeper;
    const isCalm = !this.plan.events.some((event) => event.do === "storage");
    if (isCalm && this.plan.job.fault === undefined && gone.length > 0 && problems.length === 0) {
      problems.push(`${gone.length} ranks ended by themselves, without a word`);
    }
    const text = "no rank ended but by what was done to it";
    return { promise: "UP", good: problems.length === 0, text, problems };
  }

  private race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.aborted.promise]);
  }

  /** Throws CHAOS_START (exit 70): there is nothing to torment. */
  private async within(ms: number, work: Promise<void>): Promise<void> {
    const late = Promise.withResolvers<never>();
    const fail = (why: string) =>
      late.reject(new BaashError("CHAOS_START", `The job does not serve: ${why}.`));
    const timer = setTimeout(() => fail(`nothing was final after ${ms / 1000} s`), ms);
    void this.keeper.given.promise.then(() => fail(this.keeper.problems.join("; ")));
    await this.race(Promise.race([work, late.promise])).finally(() => clearTimeout(timer));
  }
}

/** One for the job, and one for each that is started beside it. */
function runDirectories(plan: Plan, root: string): string[] {
  const beside = plan.events.filter((event) => event.do === "second-job").length;
  return Array.from({ length: 1 + beside }, (_, i) => {
    const run = join(root, `job-${i + 1}`);
    mkdirSync(run, { mode: 0o700 });
    return run;
  });
}

/** Ends within this time of each other are one incident. */
const TOGETHER_MS = 2000;

function endsOf(times: readonly number[]): Incident[] {
  const incidents: Incident[] = [];
  for (const at of times) {
    const last = incidents.at(-1);
    if (last !== undefined && at - last.end <= TOGETHER_MS) {
      incidents[incidents.length - 1] = { ...last, end: at };
    } else incidents.push({ text: "ranks ended by themselves", at, end: at });
  }
  return incidents;
}

const resultSchema = z.object({
  ranks: z.array(
    z.object({
      rank: z.number(),
      slot: z.number(),
      head: z.string(),
      stateRoot: z.string(),
      balanceTotal: z.number(),
    }),
  ),
});

/** What the ranks said of themselves at the end; a job whose speaker died may have left nothing. */
function readReports(path: string): FinalReport[] {
  try {
    const { ranks } = resultSchema.parse(JSON.parse(readFileSync(path, "utf8")));
    return ranks.map(({ rank, ...facts }) => ({ who: `rank ${rank}`, ...facts }));
  } catch {
    return [];
  }
}
