/**
 * One run of a ledger's life: a table is loaded, then its ranks are started, killed, started again,
 * stopped, started without checkpoints, and at last the ledger is verified. Times count from the start
 * of mpirun until the ranks serve, so that starting the engines is in all of them.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { BaashError, EXIT } from "../../base/errors.ts";
import type { JobFacts } from "../../job/reporter.ts";
import type { JobStatus } from "../../job/status-file.ts";
import { describeDamage } from "../../verify/damage.ts";
import { readLedger } from "../../verify/ledger-reader.ts";
import { Job } from "../ycsb/launch.ts";
import { planLoad } from "../ycsb/options.ts";
import { findDisk } from "../ycsb/places.ts";
import { runLoad } from "../ycsb/run.ts";
import { propertiesOf } from "./load-run.ts";
import type { Measured } from "./measured.ts";
import type { Setting } from "./setting.ts";

const MIB = 2 ** 20;
/** Between two looks at the status file, which says who the ranks are. */
const LOOK_MS = 50;

/** At a `signal` its ranks are ended; it throws then, as when they end by themselves. */
export async function measureLife(setting: Setting, signal: AbortSignal): Promise<Measured> {
  const directory = mkdtempSync(join(await findDisk(false), "baash-life-"));
  try {
    return await new Life(setting, directory, signal).measure();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

class Life {
  private readonly setting: Setting;
  readonly ledger: string;
  readonly ledgerKey: string;
  readonly status: string;
  readonly signal: AbortSignal;

  constructor(setting: Setting, directory: string, signal: AbortSignal) {
    this.setting = setting;
    this.signal = signal;
    this.ledger = join(directory, "ledger");
    this.ledgerKey = join(directory, "key.pem");
    this.status = join(directory, "status.json");
  }

  async measure(): Promise<Measured> {
    const { facts, proof, interrupted } = await this.load();
    const end = { breakdown: {}, facts };
    if (interrupted || !proof.verified) return { ...end, figures: {}, problems: proof.problems };
    const startMs = await this.serve((ranks) => ranks.kill());
    const recoverMs = await this.serve((ranks) => ranks.stop());
    const checkpoints = join(this.ledger, "checkpoints");
    for (const name of readdirSync(checkpoints)) rmSync(join(checkpoints, name));
    const replayMs = await this.serve((ranks) => ranks.stop());
    const began = performance.now();
    const { damages, summary } = readLedger(this.ledger);
    const verifyMs = performance.now() - began;
    const figures = {
      ...{ startMs, recoverMs, replayMs, verifyMs },
      verifyRate: (1000 * summary.transactions) / verifyMs,
      ledgerMiB: bytesOf(this.ledger) / MIB,
    };
    return { ...end, figures, problems: damages.map(describeDamage) };
  }

  private async load() {
    const { ranks, blockTransactions, difficulty } = this.setting;
    // No operation is run, but without a number of them there would have to be a time.
    const properties = Object.entries({ ...propertiesOf(this.setting), operationcount: 1 });
    const plan = await planLoad("load", {
      p: properties.map(([name, value]) => `${name}=${value}`),
      ranks: String(ranks),
      blockSize: String(blockTransactions),
      difficulty: String(difficulty),
      ledger: this.ledger,
      ledgerKey: this.ledgerKey,
      load: "ranks",
    });
    return runLoad(plan);
  }

  /** Starts the ranks, does that once they serve; answers how long that took them. */
  private async serve(end: (ranks: ServingRanks) => Promise<void>): Promise<number> {
    rmSync(this.status, { force: true });
    const ranks = new ServingRanks(this.setting, this);
    const ms = await ranks.serving;
    await end(ranks);
    return ms;
  }
}

class ServingRanks {
  /** Milliseconds from the start; rejects where they end before. */
  readonly serving: Promise<number>;
  private readonly job: Job;
  private readonly status: string;
  private ended = false;

  constructor({ ranks, sync }: Setting, { ledger, ledgerKey, status, signal }: Life) {
    const args = ["--ledger", ledger, "--ledger-key", ledgerKey, "--no-create"];
    args.push("--status", status, "--status-interval", "1");
    if (sync === "off") args.push("--no-sync");
    const began = performance.now();
    const started = Promise.withResolvers<number>();
    this.status = status;
    this.job = new Job(
      { ranks, args },
      {
        onLine: ({ type, facts }) => {
          if (type === "started" && (facts as JobFacts).ranks === ranks)
            started.resolve(performance.now() - began);
        },
        onText: (text) => void process.stderr.write(`${text}\n`),
      },
    );
    const kill = () => this.job.kill();
    signal.addEventListener("abort", kill);
    const ended = this.job.exited.then((code): never => {
      this.ended = true;
      signal.removeEventListener("abort", kill);
      const message = `The ranks ended with code ${code} before they served; the reason is above.`;
      throw new BaashError("JOB_FAILED", message, { exitCode: EXIT.failed });
    });
    this.serving = Promise.race([started.promise, ended]);
    // Whoever waits hears of it there; later it is as it should be.
    ended.catch(() => {});
  }

  /** Cleanly: the epoch sealed, a checkpoint written. */
  async stop(): Promise<void> {
    this.job.drain();
    await this.job.exited;
  }

  /** All of them at once, as a loss of power has it. */
  async kill(): Promise<void> {
    for (const pid of await this.processes()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // mpirun was faster.
      }
    }
    await this.job.exited;
  }

  private async processes(): Promise<number[]> {
    while (!this.ended) {
      const file = Bun.file(this.status);
      if (await file.exists()) {
        const { members } = (await file.json()) as JobStatus;
        if (members.every(({ pid }) => pid > 0)) return members.map(({ pid }) => pid);
      }
      await Bun.sleep(LOOK_MS);
    }
    return [];
  }
}

function bytesOf(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory, { recursive: true }) as string[]) {
    const status = statSync(join(directory, name));
    if (status.isFile()) bytes += status.size;
  }
  return bytes;
}
