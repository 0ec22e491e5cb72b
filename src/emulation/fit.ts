/**
 * Finds the costs that no single operation shows, from jobs of two sizes: what a round, a proposal, a vote,
 * a block and a transaction take, by least squares over the processor time of each stage in busy jobs; and
 * how long a record is on its way to storage, from how much later than agreed it is final in calm ones.
 */
import type { CostModel } from "./cost-model.ts";
import { crowdOf } from "./resources.ts";

/** What a job of so many ranks did, or what the emulation says it does. */
export interface Figures {
  /** Transactions and rounds a second. */
  readonly throughput: number;
  readonly roundsPerS: number;
  /** Medians. */
  readonly agreedMs: number;
  readonly finalMs: number;
}

/** Of one rank in one round, on average; times are processor time. */
export interface RoundWork {
  /** By thread, as `workload/usage.ts` names them. */
  readonly threadsUs: Readonly<Record<string, number>>;
  /** Of the main thread by stage, as `rank/stage-clock.ts` names them. */
  readonly stagesUs: Readonly<Record<string, number>>;
  /** Records, of all ranks together; several rounds may share one. */
  readonly records: number;
  /** Of all ranks together. */
  readonly blocks: number;
  readonly transactions: number;
}

export interface Measurement extends Figures {
  readonly ranks: number;
  /** That the ranks shared. */
  readonly cores: number;
  /** Transactions a second of each rank. */
  readonly load: number;
  readonly blockTransactions: number;
  readonly difficulty: number;
  readonly work: RoundWork;
  /** Part of these cores' time that the ranks had: 1 is all of it. */
  readonly busy: number;
}

/** The median of each figure of jobs that were the same: a shared machine is slow for a minute now and then. */
export function medianOf(jobs: readonly Measurement[]): Measurement {
  return medians(jobs) as Measurement;
}

function medians(values: readonly unknown[]): unknown {
  const sample = values.find((value) => value !== undefined);
  if (typeof sample === "number") {
    const sorted = values.map((value) => Number(value ?? 0)).sort((a, b) => a - b);
    const middle = sorted.length >>> 1;
    return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  const objects = values as readonly Record<string, unknown>[];
  const names = new Set(objects.flatMap((value) => Object.keys(value)));
  return Object.fromEntries(
    [...names].map((name) => [name, medians(objects.map((value) => value[name]))]),
  );
}

/** A proposal and a vote, both sent and received. */
const MESSAGES_A_PEER = 4;
/** An idle thread polls: what it spends so is no work. Jobs are busy from here on. */
const BUSY = 0.85;
const SWEEPS = 5000;
const CROWDING_MAX = 0.5;
const CROWDING_STEP = 0.02;
/** Milliseconds between which `handOverMs` is looked for, and how finely (in logarithms). */
const HAND_OVER_MS = { min: 0.001, max: 20, precision: 0.02 };

export interface Fit {
  readonly model: CostModel;
  /** Root of the mean square of what is not explained of the processor time of busy jobs, as a part. */
  readonly error: number;
}

/** Throws RangeError when no job was busy. */
export async function fitCosts(
  start: CostModel,
  measurements: readonly Measurement[],
  emulated: (model: CostModel, measurement: Measurement) => Promise<Figures>,
): Promise<Fit> {
  const busy = measurements.filter((one) => one.busy >= BUSY);
  if (busy.length === 0) throw new RangeError("no job was busy: nothing tells what work costs");
  const calm = measurements.filter((one) => one.busy < BUSY);
  const { model, error } = fitWork(start, busy);
  return { model: await fitHandOver(model, calm.length > 0 ? calm : busy, emulated), error };
}

/** For each way in which crowding may count what fits best, and of these the best. */
function fitWork(start: CostModel, busy: readonly Measurement[]): Fit {
  let best: Fit | undefined;
  for (let crowding = 0; crowding <= CROWDING_MAX; crowding += CROWDING_STEP) {
    const fit = fitParts(start, busy, Number(crowding.toFixed(2)));
    if (best === undefined || fit.error < best.error) best = fit;
  }
  return best!;
}

type Amounts = Readonly<Record<string, number>>;

/** A part of what a rank does, and what it grows with. */
interface Part {
  us(job: Measurement): number;
  by(job: Measurement): Amounts;
  /** The engine compiles and collects for it, on threads of its own. */
  readonly byMain: boolean;
  /** Jobs that say nothing about it. */
  skips?(job: Measurement): boolean;
}

const stage = ({ work }: Measurement, name: string) => work.stagesUs[name] ?? 0;
const thread = ({ work }: Measurement, name: string) => work.threadsUs[name] ?? 0;
const own = ({ work, ranks }: Measurement) => work.transactions / ranks;
/** As resources.ts has it. */
const CROWDED: ReadonlySet<string> = new Set(["roundUs", "messageUs"]);
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const spentBy = ({ work }: Measurement) => sumOf(Object.values(work.threadsUs));

function partsOf({ cpu }: CostModel): Part[] {
  const puzzle = ({ work, ranks, difficulty }: Measurement) =>
    (work.blocks / ranks) * 2 ** difficulty * cpu.hashUs;
  return [
    {
      byMain: true,
      us: (job) => stage(job, "proposals"),
      by: ({ ranks, work }) => ({
        proposalUs: ranks - 1,
        blockUs: work.blocks * (1 - 1 / ranks),
        transactionUs: work.transactions * (1 - 1 / ranks),
      }),
    },
    {
      byMain: true,
      us: (job) => stage(job, "votes"),
      by: ({ ranks }) => ({ roundUs: 1, voteUs: ranks - 1 }),
    },
    {
      byMain: true,
      us: (job) => stage(job, "execution"),
      by: ({ work }) => ({ roundUs: 1, blockUs: work.blocks, transactionUs: work.transactions }),
    },
    {
      byMain: true,
      us: (job) => Math.max(0, stage(job, "building") - puzzle(job)),
      by: (job) => ({ roundUs: 1, ownTransactionUs: own(job) }),
    },
    {
      byMain: true,
      us: (job) => stage(job, "messages") + stage(job, "records"),
      by: () => ({ roundUs: 1 }),
    },
    {
      // Receipts, intake, the load itself, turns of the event loop.
      byMain: true,
      us: (job) => Math.max(0, thread(job, "main") - sumOf(Object.values(job.work.stagesUs))),
      by: (job) => ({ roundUs: 1, ownTransactionUs: own(job) }),
    },
    {
      byMain: false,
      us: (job) => thread(job, "writer"),
      by: ({ work, ranks }) => ({ roundUs: 1, recordUs: work.records / ranks }),
    },
    {
      // It polls while a core is free; what it does where none is, is work.
      byMain: false,
      us: (job) => thread(job, "mpi"),
      by: ({ ranks }) => ({ roundUs: 1, messageUs: MESSAGES_A_PEER * (ranks - 1) }),
      skips: ({ cores }) => cores > 1,
    },
  ];
}

/** Each part by itself: what it grows with explains it as well as can be; the sums are the model's. */
function fitParts(start: CostModel, busy: readonly Measurement[], crowding: number): Fit {
  const engine = sumOf(busy.map((job) => thread(job, "engine")));
  const byMainFactor = 1 + engine / sumOf(busy.map((job) => thread(job, "main")));
  const costs: Record<string, number> = {};
  const unexplained = busy.map(() => 0);
  for (const part of partsOf(start)) {
    const jobs = busy.filter((job) => part.skips?.(job) !== true);
    if (jobs.length === 0) continue;
    const names = Object.keys(part.by(jobs[0]));
    // Each row is a part of what its job spent: errors count by their ratio.
    const rows = jobs.map((job) => {
      const crowded = 1 + crowding * crowdOf(job.ranks / job.cores);
      const amounts = part.by(job);
      const times = (name: string) => (CROWDED.has(name) ? crowded : 1);
      return names.map((name) => (amounts[name] * times(name)) / spentBy(job));
    });
    const target = jobs.map((job) => part.us(job) / spentBy(job));
    const found = nonNegativeLeastSquares(rows, target);
    const factor = part.byMain ? byMainFactor : 1;
    for (const [i, name] of names.entries()) costs[name] = (costs[name] ?? 0) + factor * found[i];
    for (const [i, job] of jobs.entries())
      unexplained[busy.indexOf(job)] += dot(rows[i], found) - target[i];
  }
  const rounded = Object.entries({ ...costs, crowding }).map(([name, value]) => [
    name,
    Number(value.toPrecision(4)),
  ]);
  const error = Math.sqrt(sumOf(unexplained.map((part) => part ** 2)) / busy.length);
  return { model: { ...start, cpu: { ...start.cpu, ...Object.fromEntries(rounded) } }, error };
}

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Minimizes |rows·x - target|² over x ≥ 0, one coordinate after the other. Deterministic. */
export function nonNegativeLeastSquares(
  rows: readonly (readonly number[])[],
  target: readonly number[],
): number[] {
  const count = rows[0].length;
  const x = new Array<number>(count).fill(0);
  const column = (k: number) => rows.map((row) => row[k]);
  const columns = Array.from({ length: count }, (_, k) => column(k));
  const lengths = columns.map((values) => dot(values, values));
  const rest = [...target];
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (let k = 0; k < count; k++) {
      if (lengths[k] === 0) continue;
      const next = Math.max(0, x[k] + dot(columns[k], rest) / lengths[k]);
      const step = next - x[k];
      if (step === 0) continue;
      for (let i = 0; i < rest.length; i++) rest[i] -= columns[k][i] * step;
      x[k] = next;
    }
  }
  return x;
}

/** What is final gets later with it, so halving finds it. */
async function fitHandOver(
  model: CostModel,
  calm: readonly Measurement[],
  emulated: (model: CostModel, measurement: Measurement) => Promise<Figures>,
): Promise<CostModel> {
  const within = (handOverMs: number): CostModel => ({
    ...model,
    storage: { ...model.storage, handOverMs: Number(handOverMs.toPrecision(4)) },
  });
  /** Mean of ln(emulated delay / measured delay). */
  const tooLong = async (handOverMs: number) => {
    let sum = 0;
    for (const measurement of calm) {
      const figures = await emulated(within(handOverMs), measurement);
      const delay = (of: Figures) => Math.max(of.finalMs - of.agreedMs, 1e-3);
      sum += Math.log(delay(figures) / delay(measurement));
    }
    return sum / calm.length;
  };
  let low = Math.log(HAND_OVER_MS.min);
  let high = Math.log(HAND_OVER_MS.max);
  while (high - low > HAND_OVER_MS.precision) {
    const middle = (low + high) / 2;
    if ((await tooLong(Math.exp(middle))) > 0) high = middle;
    else low = middle;
  }
  return within(Math.exp((low + high) / 2));
}
