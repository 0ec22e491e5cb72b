/**
 * Many seeds on many processes. Each seed is a run of its own: which process takes it, and when,
 * changes nothing in it. A process that dies or does not answer is a result as well.
 */
import { fileURLToPath } from "node:url";
import type { Broken, SeedResult, SeedSpec } from "./seed-run.ts";

const WORKER = fileURLToPath(new URL("./seed-worker.ts", import.meta.url));
/** No run takes as long, on the most crowded machine: it goes round in circles without time passing. */
const SEED_MS_MAX = 600_000;
/** A worker's memory is given back now and then: states hold WebAssembly memories. */
const SEEDS_A_WORKER = 100;

/** A seed whose process ended, or had to be ended: nothing is known but that. */
export interface LostSeed {
  readonly seed: number;
  readonly broken: Broken;
}

export interface CampaignOptions extends Omit<SeedSpec, "seed"> {
  readonly from: number;
  /** Seeds at most. */
  readonly count: number;
  /** No seed is begun after this: performance.now() ms. */
  readonly untilMs: number;
  readonly jobs: number;
  readonly keepGoing: boolean;
  onResult(result: SeedResult | LostSeed): void;
}

/** Resolves when the last seed that was begun has ended. */
export async function runCampaign(options: CampaignOptions): Promise<void> {
  const end = options.from + options.count;
  let next = options.from;
  let failed = false;
  const hasNext = () =>
    next < end && performance.now() < options.untilMs && (!failed || options.keepGoing);
  const take = (): SeedSpec => {
    const { faults, ranks, quorum } = options;
    return { seed: next++, faults, ranks, quorum };
  };
  const onResult = (result: SeedResult | LostSeed) => {
    failed ||= result.broken !== undefined;
    options.onResult(result);
  };
  const worker = async () => {
    while (hasNext()) await runWorker({ hasNext, take, onResult });
  };
  const jobs = Math.min(options.jobs, options.count);
  await Promise.all(Array.from({ length: jobs }, worker));
}

/** One process for as many seeds as it may have. */
async function runWorker(work: {
  hasNext(): boolean;
  take(): SeedSpec;
  onResult(result: SeedResult | LostSeed): void;
}): Promise<void> {
  let spec: SeedSpec | undefined;
  let given = 0;
  let timer: Timer | undefined;
  let why: string | undefined;
  const child = Bun.spawn([process.execPath, WORKER], {
    // Of fast memories there are few, and the engine would collect garbage most of the time.
    env: { ...process.env, BUN_JSC_useWasmFastMemory: "0" },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    serialization: "json",
    ipc: (result: SeedResult) => {
      spec = undefined;
      clearTimeout(timer);
      work.onResult(result);
      give();
    },
  });
  const give = () => {
    if (given >= SEEDS_A_WORKER || !work.hasNext()) return void child.disconnect();
    given++;
    spec = work.take();
    timer = setTimeout(() => {
      why = `it had not ended after ${SEED_MS_MAX / 1000} s`;
      child.kill("SIGKILL");
    }, SEED_MS_MAX);
    child.send(spec);
  };
  give();
  await child.exited;
  clearTimeout(timer);
  if (spec === undefined) return;
  why ??= `its process ended with ${child.signalCode ?? `exit code ${child.exitCode}`}`;
  work.onResult({
    seed: spec.seed,
    broken: { rule: "CRASH", family: "crash", message: `CRASH: ${why}` },
  });
}
