/**
 * Finds the costs that no single operation shows, from jobs of two sizes: what a round, a peer, a block
 * and a transaction take, by least squares over the processor time of busy jobs; and how long a record is
 * on its way to storage, from how much later than agreed it is final in calm ones.
 */
import type { CostModel } from "./cost-model.ts";

/** What a job of so many ranks did, or what the emulation says it does. */
export interface Figures {
  /** Transactions and rounds a second. */
  readonly throughput: number;
  readonly roundsPerS: number;
  /** Medians. */
  readonly agreedMs: number;
  readonly finalMs: number;
}

/** Of one rank in one round, on average. */
export interface RoundWork {
  /** Processor time of all threads. */
  readonly cpuUs: number;
  /** Of the thread that writes records. */
  readonly writerUs: number;
  /** Of the thread that calls MPI, which polls where it finds nothing else to do. */
  readonly mpiUs: number;
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

/** Of what a proposal costs, a vote costs so much: it has no blocks, and its MAC covers less. */
const VOTE_PART = 0.3;
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
  /** Root of the mean square of predicted / measured - 1, over the processor time of busy jobs. */
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
    const fit = fitLinear(start, busy, Number(crowding.toFixed(2)));
    if (best === undefined || fit.error < best.error) best = fit;
  }
  return best!;
}

function fitLinear(start: CostModel, busy: readonly Measurement[], crowding: number): Fit {
  const factors = busy.map(({ ranks, cores }) => {
    return 1 + crowding * Math.log2(Math.max(1, ranks / cores));
  });
  // The thread that writes records is fitted by itself: with two sizes only, what one rank does for
  // all and what each does for its peers would be told apart by nothing else.
  const writer = solve(
    busy.map(({ ranks, work }, i) => ({
      amounts: [1, work.records / ranks].map((amount) => amount * factors[i]),
      us: work.writerUs,
      ofUs: work.cpuUs,
    })),
  );
  const rest = solve(
    busy.map(({ ranks, difficulty, work }, i) => {
      const { blocks, transactions } = work;
      const messages = MESSAGES_A_PEER * (ranks - 1) * start.cpu.messageUs;
      const puzzle = (blocks / ranks) * 2 ** difficulty * start.cpu.hashUs;
      return {
        amounts: [1, ranks - 1, blocks, transactions, transactions / ranks].map(
          (amount) => amount * factors[i],
        ),
        us: Math.max(0, work.cpuUs - work.writerUs - (messages + puzzle) * factors[i]),
        ofUs: work.cpuUs,
      };
    }),
  );
  const [writerUs, recordUs] = writer.costs;
  const [othersUs, peerUs, blockUs, transactionUs, ownTransactionUs] = rest.costs;
  const proposalUs = peerUs / (1 + VOTE_PART);
  const found = {
    ...{ roundUs: writerUs + othersUs, proposalUs, voteUs: VOTE_PART * proposalUs },
    ...{ blockUs, transactionUs, ownTransactionUs, recordUs, crowding },
  };
  const rounded = Object.entries(found).map(([name, us]) => [name, Number(us.toPrecision(4))]);
  const cpu = { ...start.cpu, ...Object.fromEntries(rounded) };
  const squares = busy.map((_, i) => (writer.off[i] + rest.off[i]) ** 2);
  const error = Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
  return { model: { ...start, cpu }, error };
}

/** What explains `us` best, where a job's error counts by its part of `ofUs`; and these parts. */
function solve(jobs: readonly { amounts: number[]; us: number; ofUs: number }[]) {
  const rows = jobs.map(({ amounts, ofUs }) => amounts.map((amount) => amount / ofUs));
  const target = jobs.map(({ us, ofUs }) => us / ofUs);
  const costs = nonNegativeLeastSquares(rows, target);
  return { costs, off: rows.map((row, i) => dot(row, costs) - target[i]) };
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
