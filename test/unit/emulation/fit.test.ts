/** Costs are found again from what jobs with these costs would do. */
import { expect, test } from "bun:test";
import { type CostModel, parseCostModel } from "../../../src/emulation/cost-model.ts";
import { emulate } from "../../../src/emulation/emulation.ts";
import { type Figures, fitCosts, type Measurement } from "../../../src/emulation/fit.ts";
import { emulationOptions, REFERENCE, referenceText } from "../../support/emulation-options.ts";

async function figures(model: CostModel, of: { ranks: number; load: number }): Promise<Figures> {
  const machine = { ranksPerNode: of.ranks, coresPerNode: 2 };
  const { throughput, roundMs, latencyMs } = await emulate(
    emulationOptions({ ...of, ...machine, model, rounds: 150 }),
  );
  const { agreed, final } = latencyMs;
  return { throughput, roundsPerS: 1000 / roundMs, agreedMs: agreed.p50!, finalMs: final.p50! };
}

test("a fit at 2 and 4 ranks says what 8 and 16 do", async () => {
  const reference = parseCostModel(referenceText, REFERENCE);
  const cpu = { roundUs: 900, proposalUs: 90, voteUs: 27, transactionUs: 6 };
  const truth: CostModel = { ...reference, cpu: { ...reference.cpu, ...cpu } };
  const measurements: Measurement[] = [];
  for (const ranks of [2, 4])
    for (const load of [50, 500, 3000])
      measurements.push({ ranks, load, ...(await figures(truth, { ranks, load })) });
  const start = { ...reference, cpu: { ...reference.cpu, roundUs: 400, proposalUs: 40 } };
  const { model, error } = await fitCosts(start, measurements, figures);
  expect(error).toBeLessThan(0.05);
  for (const ranks of [8, 16]) {
    const [found, true_] = [
      await figures(model, { ranks, load: 200 }),
      await figures(truth, { ranks, load: 200 }),
    ];
    expect(Math.abs(found.agreedMs / true_.agreedMs - 1)).toBeLessThan(0.2);
    expect(Math.abs(found.finalMs / true_.finalMs - 1)).toBeLessThan(0.2);
  }
}, 120_000);
