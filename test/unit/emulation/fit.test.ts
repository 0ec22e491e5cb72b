/** Costs are found again from what a machine with these costs would do. */
import { expect, test } from "bun:test";
import { type CostModel, parseCostModel } from "../../../src/emulation/cost-model.ts";
import { type Figures, fitCosts, type Measurement } from "../../../src/emulation/fit.ts";
import { REFERENCE, referenceText } from "../../support/emulation-options.ts";

/** A machine simple enough to be written down: two cores, a round after the other, one disk. */
function figures({ cpu }: CostModel, { ranks, load }: { ranks: number; load: number }): Figures {
  const others = (ranks - 1) * (cpu.proposalUs + cpu.voteUs);
  const perTransaction = cpu.ownTransactionUs + ranks * cpu.transactionUs;
  const offered = ranks * load;
  const fixedMs = ((cpu.roundUs + others) * ranks) / 2000;
  const busy = Math.min(0.95, (offered * perTransaction) / 2e6);
  const roundMs = fixedMs / (1 - busy);
  const agreedMs = 1.5 * roundMs;
  const finalMs = agreedMs + 1 + cpu.recordUs / 1000;
  return { throughput: offered, roundsPerS: 1000 / roundMs, agreedMs, finalMs };
}

test("a fit at 2 and 4 ranks says what 8, 16 and 32 do", async () => {
  const reference = parseCostModel(referenceText, REFERENCE);
  const cpu = { roundUs: 900, proposalUs: 90, voteUs: 27, transactionUs: 6, recordUs: 800 };
  const truth: CostModel = { ...reference, cpu: { ...reference.cpu, ...cpu } };
  const measurements: Measurement[] = [];
  for (const ranks of [2, 4])
    for (const load of [50, 2000, 8000])
      measurements.push({ ranks, load, ...figures(truth, { ranks, load }) });
  const costs = { roundUs: 400, proposalUs: 40, transactionUs: 3, recordUs: 300 };
  const start = { ...reference, cpu: { ...reference.cpu, ...costs } };
  const { model, error } = await fitCosts(start, measurements, async (tried, measurement) =>
    figures(tried, measurement),
  );
  expect(error).toBeLessThan(0.03);
  expect(model.cpu.voteUs).toBeCloseTo(0.3 * model.cpu.proposalUs, 1);
  // What was measured by itself is left alone.
  expect([model.cpu.hashUs, model.storage]).toEqual([reference.cpu.hashUs, reference.storage]);
  for (const ranks of [8, 16, 32]) {
    const [found, right] = [model, truth].map((each) => figures(each, { ranks, load: 200 }));
    expect(Math.abs(found.agreedMs / right.agreedMs - 1)).toBeLessThan(0.15);
    expect(Math.abs(found.finalMs / right.finalMs - 1)).toBeLessThan(0.15);
  }
});
