/**
 * One load from start to end: places, ranks, clients where they make the load, the proof. Whatever
 * mpirun answers, the result that rank 0 wrote and the ledger itself say how it went.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { BaashError, EXIT, type ExitCode, usageError } from "../../base/errors.ts";
import { journalPath, type PhaseProgress, phasesOf } from "../../job/load-phases.ts";
import type { JobResult } from "../../job/reporter.ts";
import { launchCommand } from "../../supervisor/launch.ts";
import { MergedResult, type RankResult } from "../../workload/measurements.ts";
import { formatProperties } from "../../workload/properties.ts";
import { ProgressLine } from "../progress.ts";
import { Clients } from "./clients.ts";
import { Job } from "./launch.ts";
import type { LoadPlan } from "./options.ts";
import { type Places, preparePlaces, removeRun } from "./places.ts";
import { type Proof, prove } from "./proof.ts";
import type { LoadOutcome, PhaseOutcome } from "./report.ts";
import { Watch } from "./watch.ts";

/** Progress of the ranks, for the bar. */
const PROGRESS_S = 0.5;
/** Of mpirun's exit codes those that are a rank's own word. */
const OWN_CODES: readonly number[] = Object.values(EXIT).filter((code) => code > 2);

export async function runLoad(plan: LoadPlan): Promise<LoadOutcome> {
  launchCommand({ ranks: plan.workload["baash.ranks"] });
  const places = await preparePlaces(plan);
  let outcome: LoadOutcome | undefined;
  try {
    outcome = await new LoadRun(plan, places).run();
    return outcome;
  } finally {
    tidyUp(plan, places, outcome);
  }
}

/** Everything stays where it is when there is something to look into. */
function tidyUp(plan: LoadPlan, places: Places, outcome: LoadOutcome | undefined): void {
  const isGood = outcome?.proof.verified ?? false;
  // Without a ledger nothing was acknowledged, and the reason has been said.
  const isNothing = outcome === undefined && !hasLedger(places);
  if ((isGood && !plan.keep) || isNothing) return removeRun(places);
  const ledger = places.temporary ? "ledger, key, " : "";
  process.stderr.write(`kept: ${ledger}journals and result in ${places.run}\n`);
}

function hasLedger({ ledger, temporary }: Places): boolean {
  return temporary && Bun.file(join(ledger, "genesis")).size > 0;
}

class LoadRun {
  private readonly plan: LoadPlan;
  private readonly places: Places;
  private readonly ranks: number;
  private readonly results: string;
  private readonly journals: string;
  private readonly watch: Watch;
  private job: Job | undefined;
  private clients: Clients | undefined;
  private refusal: BaashError | undefined;
  private started = false;
  private interrupted = false;

  constructor(plan: LoadPlan, places: Places) {
    this.plan = plan;
    this.places = places;
    const { workload } = plan;
    this.ranks = workload["baash.ranks"];
    this.results = join(places.run, "result.json");
    this.journals = join(places.run, "journals");
    this.watch = new Watch({
      ranks: this.ranks,
      ack: workload["baash.ack"],
      label: plan.label,
      statusMs: workload["status.interval"] * 1000,
      status: plan.status,
      prepares: phasesOf(this.plan.phase, workload).length > 1,
    });
  }

  async run(): Promise<LoadOutcome> {
    const onSignal = () => this.onSignal();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, onSignal);
    let result: JobResult;
    try {
      result = await this.runJob();
    } finally {
      this.watch.end();
      // From here on there is nothing to lose: a signal ends us.
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, onSignal);
    }
    const phases = this.phasesOf(result);
    const proof = this.prove(result, phases);
    const { facts, ranks: reports } = result;
    return { facts, phases, reports, proof, interrupted: this.interrupted };
  }

  private async runJob(): Promise<JobResult> {
    const properties = join(this.places.run, "workload.properties");
    writeFileSync(properties, formatProperties(this.plan.properties));
    const onText = (text: string) => this.watch.say(text);
    if (this.plan.load === "clients") {
      this.clients = new Clients({
        ranks: this.ranks,
        properties,
        phase: this.plan.phase,
        journals: this.journals,
        progressMs: PROGRESS_S * 1000,
        onProgress: (progress) => this.watch.onProgress(progress),
        onText,
        onEnd: () => this.job!.drain(),
      });
    }
    const args = this.rankArguments(properties);
    this.job = new Job(
      { ranks: this.ranks, args },
      { onLine: (line) => this.onLine(line), onText },
    );
    const code = await this.job.exited;
    this.clients?.close();
    if (this.refusal !== undefined) throw this.refusal;
    const file = Bun.file(this.results);
    if (await file.exists()) return (await file.json()) as JobResult;
    throw this.failure(code);
  }

  private rankArguments(properties: string): string[] {
    const { workload, force } = this.plan;
    const { ledger, ledgerKey } = this.places;
    const args = ["--ledger", ledger, "--results", this.results];
    args.push("--properties", properties, "--phase", this.plan.phase);
    args.push("--status-interval", String(PROGRESS_S));
    args.push("--difficulty", String(workload["baash.difficulty"]));
    args.push("--quorum", workload["baash.quorum"]);
    args.push("--supply", String(workload["baash.supply"]));
    const blockTransactions = workload["baash.blocksize"];
    if (blockTransactions > 0) args.push("--block-transactions", String(blockTransactions));
    if (ledgerKey !== undefined) args.push("--ledger-key", ledgerKey);
    if (force) args.push("--force");
    if (!workload["baash.sync"]) args.push("--no-sync");
    if (this.plan.breakdown) args.push("--breakdown");
    if (this.clients === undefined) args.push("--journal", this.journals);
    else args.push("--no-generate", "--sockets", this.clients.directory);
    return args;
  }

  private onLine(line: Record<string, unknown>): void {
    switch (line.type) {
      case "started":
        this.onStarted(line.facts as JobResult["facts"]);
        break;
      case "listening":
        this.clients?.start();
        break;
      case "progress":
        this.watch.onProgress(line as unknown as PhaseProgress);
        break;
    }
  }

  private onStarted(facts: JobResult["facts"]): void {
    this.started = true;
    const asked = this.plan.workload["baash.difficulty"];
    const { given } = this.plan.workload;
    if (!facts.created && given.has("baash.difficulty") && asked !== facts.difficulty) {
      this.watch.say(
        `the ledger was made with ${facts.difficulty} puzzle bits and keeps them, not ${asked}`,
      );
    }
    if (this.clients !== undefined && facts.hosts > 1) {
      this.refusal = usageError(
        "CLIENTS_REMOTE",
        `--load clients needs all ranks on this host, and they are on ${facts.hosts}: use --load ranks.`,
      );
      this.job!.drain();
    } else if (this.interrupted) this.stop();
  }

  private onSignal(): void {
    if (this.interrupted) {
      this.watch.say("ending the job at once; what was acknowledged final is in the ledger");
      this.job?.kill();
      return;
    }
    this.interrupted = true;
    this.watch.say("stopping: what was accepted becomes final (a second signal ends it at once)");
    if (this.started) this.stop();
  }

  private stop(): void {
    if (this.clients === undefined) this.job!.drain();
    else this.clients.stop();
  }

  private failure(code: number): BaashError {
    const exitCode = OWN_CODES.includes(code) ? (code as ExitCode) : EXIT.failed;
    const what = this.interrupted ? "The job was ended" : `The job ended with code ${code}`;
    const next = hasLedger({ ...this.places, temporary: true })
      ? `the ledger is in ${this.places.ledger}, check it with \`baash verify\``
      : "the reason is above";
    return new BaashError("JOB_FAILED", `${what} and left no result; ${next}.`, { exitCode });
  }

  /** The last phase is the one that is measured. */
  private phasesOf(result: JobResult): PhaseOutcome[] {
    const all = this.clients?.results ?? result.ranks.flatMap(({ phases }) => phases);
    const results = all as RankResult[];
    return phasesOf(this.plan.phase, this.plan.workload).flatMap((phase) => {
      const own = results.filter((each) => each.phase === phase);
      return own.length === 0 ? [] : [{ phase, merged: MergedResult.of(own) }];
    });
  }

  private prove(result: JobResult, phases: readonly PhaseOutcome[]): Proof {
    const line = new ProgressLine("verify", false);
    const proof = prove({
      ledger: this.places.ledger,
      ranks: this.ranks,
      reports: result.ranks,
      journals: Array.from({ length: this.ranks }, (_, rank) => journalPath(this.journals, rank)),
      counted: phases.reduce((sum, { merged }) => sum + merged.counters.transactions, 0),
      onProgress: (part, transactions) => line.update(part, transactions, "transactions"),
    });
    line.end();
    return withFailures(proof, this.clients?.failures ?? []);
  }
}

/** A load that did not run to its end proves nothing about what it left out. */
function withFailures(proof: Proof, failures: readonly string[]): Proof {
  if (failures.length === 0) return proof;
  return { ...proof, verified: false, problems: [...failures, ...proof.problems] };
}
