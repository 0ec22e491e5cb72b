/** Costs are found again from what a machine with these costs would do. */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { type CostModel, parseCostModel } from "../../../src/emulation/cost-model.ts";
import {
  type Figures,
  fitCosts,
  type Measurement,
  medianOf,
  nonNegativeLeastSquares,
} from "../../../src/emulation/fit.ts";
import { REFERENCE, referenceText } from "../../support/emulation-options.ts";

const DIFFICULTY = 8;
/** Of `roundUs`: voting as such, the thread that writes records, the one that calls MPI. */
const VOTING_US = 30;
const WRITER_US = 40;
const MPI_US = 35;
/** Of `blockUs`: checking; the rest is execution. */
const CHECK_US = 7;
const reference = parseCostModel(referenceText, REFERENCE);
const cpu = {
  crowding: 0.14,
  roundUs: 400,
  proposalUs: 70,
  voteUs: 21,
  blockUs: 12,
  transactionUs: 1.5,
};
const truth: CostModel = {
  ...reference,
  cpu: { ...reference.cpu, ...cpu, ownTransactionUs: 6, recordUs: 500 },
  storage: { ...reference.storage, handOverMs: 0.8 },
};

/** A machine simple enough to be written down: rounds one after the other, and one disk. */
function figures(model: CostModel, { ranks, load }: { ranks: number; load: number }): Figures {
  const roundMs = 5;
  const finalMs = 8 + 1 + model.storage.handOverMs;
  return { throughput: ranks * load, roundsPerS: 1000 / roundMs, agreedMs: 8, finalMs };
}

/** What a rank spends in a round, by the words of the cost model. */
function workOf(
  { cpu }: CostModel,
  job: { ranks: number; cores: number; blocks: number; transactions: number },
) {
  const { ranks, cores, blocks, transactions } = job;
  const others = 1 - 1 / ranks;
  const crowded = 1 + cpu.crowding * Math.log2(Math.max(1, ranks / cores));
  const puzzle = (blocks / ranks) * 2 ** DIFFICULTY * cpu.hashUs;
  const stagesUs = {
    proposals:
      cpu.proposalUs * (ranks - 1) +
      others * (blocks * CHECK_US + transactions * cpu.transactionUs),
    votes: crowded * VOTING_US + cpu.voteUs * (ranks - 1),
    execution: blocks * (cpu.blockUs - CHECK_US),
    building: puzzle + cpu.ownTransactionUs * (transactions / ranks),
    messages: crowded * (cpu.roundUs - VOTING_US - WRITER_US - MPI_US),
  };
  const main = Object.values(stagesUs).reduce((sum, us) => sum + us, 0);
  const writer = crowded * WRITER_US + cpu.recordUs / ranks;
  const mpi = crowded * (MPI_US + 4 * (ranks - 1) * cpu.messageUs);
  const polls = cores > 1 ? 150 : 0;
  const threadsUs = { main, writer, mpi: mpi + polls, engine: 0 };
  return { threadsUs, stagesUs, records: 1, blocks, transactions };
}

const spentBy = ({ threadsUs }: { threadsUs: Record<string, number> }) =>
  Object.values(threadsUs).reduce((sum, us) => sum + us, 0);

function jobs(noise: (us: number) => number): Measurement[] {
  const made: Measurement[] = [];
  for (const ranks of [2, 4])
    for (const cores of [1, 2])
      for (const blockTransactions of [1, 4])
        for (const blocks of [1, 5, 20]) {
          const transactions = blocks * blockTransactions;
          const load = (transactions * 200) / ranks;
          const exact = workOf(truth, { ranks, cores, blocks, transactions });
          const noisy = (times: Record<string, number>) =>
            Object.fromEntries(Object.entries(times).map(([name, us]) => [name, noise(us)]));
          const work = {
            ...exact,
            threadsUs: { ...exact.threadsUs, writer: noise(exact.threadsUs.writer) },
            stagesUs: noisy(exact.stagesUs),
          };
          const what = { ranks, cores, load, blockTransactions, difficulty: DIFFICULTY };
          made.push({ ...what, ...figures(truth, what), work, busy: 0.97 });
        }
  return made;
}

const fit = (measurements: readonly Measurement[]) =>
  fitCosts(reference, measurements, async (tried, measurement) => figures(tried, measurement));

describe("a fit at 2 and 4 ranks", () => {
  test("finds each cost again, and leaves alone what was measured by itself", async () => {
    const { model, error } = await fit(jobs((us) => us));
    expect(error).toBeLessThan(1e-3);
    for (const name of Object.keys(truth.cpu) as (keyof CostModel["cpu"])[])
      expect(Math.abs(model.cpu[name] / truth.cpu[name] - 1)).toBeLessThan(0.03);
    expect(Math.abs(model.storage.handOverMs / 0.8 - 1)).toBeLessThan(0.03);
    expect([model.cpu.hashUs, model.network]).toEqual([reference.cpu.hashUs, reference.network]);
  });

  test("says what 8, 16 and 32 ranks spend, from figures that are 5 % off", async () => {
    const random = new Random(7, 1);
    const { model } = await fit(jobs((us) => us * (0.95 + 0.1 * random.nextFloat())));
    for (const ranks of [8, 16, 32]) {
      const job = { ranks, cores: 2, blocks: ranks, transactions: 2 * ranks };
      const [spent, right] = [model, truth].map((each) => spentBy(workOf(each, job)));
      expect(Math.abs(spent / right - 1)).toBeLessThan(0.2);
    }
  });

  test("takes no idle job for work: its threads poll", async () => {
    const busy = jobs((us) => us);
    const idle = busy.map((one) => ({
      ...one,
      busy: 0.3,
      work: { ...one.work, threadsUs: { ...one.work.threadsUs, mpi: 3000 } },
    }));
    const { model } = await fit([...busy, ...idle]);
    expect(Math.abs(model.cpu.roundUs / truth.cpu.roundUs - 1)).toBeLessThan(0.03);
    expect(fit(idle)).rejects.toThrow(RangeError);
  });
});

test("jobs that were the same: the median of each figure", () => {
  const [one] = jobs((us) => us);
  const slow = {
    ...one,
    agreedMs: 90,
    work: { ...one.work, threadsUs: { main: 9000, blocks: 30 } },
  };
  const fast = { ...one, agreedMs: 2, work: { ...one.work, threadsUs: { main: 10, blocks: 10 } } };
  const { agreedMs, ranks, work } = medianOf([slow, one, fast]);
  expect({ agreedMs, ranks }).toEqual({ agreedMs: one.agreedMs, ranks: one.ranks });
  expect(work.threadsUs).toMatchObject({ main: one.work.threadsUs.main, blocks: 10, mpi: 0 });
  expect(work.stagesUs).toEqual(one.work.stagesUs);
  expect(medianOf([slow, fast]).agreedMs).toBe(46);
});

test("least squares stay at zero where less would be better", () => {
  const rows = [
    [1, 1],
    [1, 2],
    [1, 3],
  ];
  const [a, b] = nonNegativeLeastSquares(rows, [3, 2, 1]);
  expect(b).toBe(0);
  expect(a).toBeCloseTo(2, 6);
  const [c, d] = nonNegativeLeastSquares(rows, [3, 5, 7]);
  expect([c, d].map((value) => Number(value.toFixed(4)))).toEqual([1, 2]);
});
