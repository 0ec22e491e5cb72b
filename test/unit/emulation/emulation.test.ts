/** Whole emulations: what they promise of the production core, and how their figures grow. */
import { describe, expect, test } from "bun:test";
import { DIRECT_RANKS_MAX } from "../../../src/emulation/dissemination.ts";
import { emulate } from "../../../src/emulation/emulation.ts";
import { emulationOptions } from "../../support/emulation-options.ts";

const run = (changes: Parameters<typeof emulationOptions>[0]) => emulate(emulationOptions(changes));

describe("an emulation", () => {
  test("without faults every block reaches consensus and every ledger is valid", async () => {
    for (const ranks of [2, 3, 16, 65, 100]) {
      const result = await run({ ranks });
      expect(result.blocks.lost).toBe(0);
      expect(result.blocks.agreed).toBeGreaterThan(0);
      expect([result.validLedgers, result.living, result.epochs]).toEqual([ranks, ranks, 1]);
      expect(result.rounds).toBeGreaterThanOrEqual(60);
      expect(result.throughput / result.offered).toBeCloseTo(1, 0);
      const { agreed, final } = result.latencyMs;
      expect(agreed.p50!).toBeLessThanOrEqual(final.p50!);
      expect(final.p50!).toBeLessThanOrEqual(final.p99!);
    }
  });

  test("is a function of what was asked for", async () => {
    const options = { ranks: 70, kills: [{ ranks: 2, round: 30 }] };
    expect(await run(options)).toEqual(await run(options));
  });

  test("ranks that are judged once for all do as ranks that are judged apart", async () => {
    for (const dissemination of ["direct", "gathered"] as const) {
      // Nobody waits for more: whether rounds are short makes no difference.
      const options = { ranks: 12, dissemination, load: 20, blockDelayMs: 0 };
      const together = await run(options);
      const apart = await run({ ...options, late: { ranks: 5, delayMs: 0 } });
      expect(apart.validLedgers).toBe(12);
      expect(apart.blocks.lost).toBe(0);
      expect(apart.messagesPerRound / together.messagesPerRound).toBeCloseTo(1, 1);
      expect(apart.throughput / together.throughput).toBeCloseTo(1, 1);
      const [a, b] = [apart.latencyMs.final.p50!, together.latencyMs.final.p50!];
      expect(Math.abs(a - b) / b).toBeLessThan(0.1);
    }
  });

  test("more is asked for than the cores can do: throughput stays behind, cores are named", async () => {
    const result = await run({ ranks: 16, load: 20_000, ranksPerNode: 16, coresPerNode: 2 });
    expect(result.throughput).toBeLessThan(0.9 * result.offered);
    expect(result.limit).toStartWith("cores");
    expect(result.utilization.cores).toBeGreaterThan(0.85);
  });

  test("slow storage lets more rounds ride in one record", async () => {
    const options = emulationOptions({ ranks: 8, load: 200, rounds: 200 });
    const { model } = options;
    const slow = { ...model, storage: { ...model.storage, appendMs: 80 } };
    const result = await emulate({ ...options, model: slow });
    expect(result.rounds / result.records).toBeGreaterThan(3);
    expect(result.validLedgers).toBe(8);
  });
});

describe("ranks that differ", () => {
  test("the dead are sealed out, the others go on and hold the whole ledger", async () => {
    for (const ranks of [20, 100]) {
      const result = await run({ ranks, rounds: 200, kills: [{ ranks: 4, round: 50 }] });
      expect([result.living, result.validLedgers]).toEqual([ranks - 4, ranks - 4]);
      expect(result.epochs).toBe(2);
      expect(result.throughput / result.offered).toBeGreaterThan(0.9);
      // Nothing that was agreed waits longer than the death, the SEAL and some rounds take.
      expect(result.latencyMs.final.p99!).toBeLessThan(1500);
    }
  });

  test("deaths one after the other make an epoch each", async () => {
    const kills = [
      { ranks: 1, round: 40 },
      { ranks: 2, round: 160 },
    ];
    const result = await run({ ranks: 12, rounds: 300, load: 50, kills });
    expect([result.epochs, result.living, result.validLedgers]).toEqual([3, 9, 9]);
  });

  test("late ranks hold up every round, and lose nothing", async () => {
    const onTime = await run({ ranks: 20 });
    const late = await run({ ranks: 20, late: { ranks: 3, delayMs: 20 } });
    expect(late.latencyMs.agreed.p50!).toBeGreaterThan(onTime.latencyMs.agreed.p50! + 20);
    expect([late.validLedgers, late.blocks.lost]).toEqual([20, 0]);
  });

  test("ranks that are later than a round waits lose their blocks, not their ledger", async () => {
    const result = await run({ ranks: 20, rounds: 20, late: { ranks: 3, delayMs: 2500 } });
    expect(result.blocks.lost).toBeGreaterThan(0);
    expect(result.blocks.agreed).toBeGreaterThan(0);
    expect(result.validLedgers).toBe(20);
  });
});

describe("as the ranks grow", () => {
  test("messages of a rank and round grow no faster than log N, bytes no faster than N", async () => {
    // Below 256 members a lane's votes still grow with them (rank/envelope.ts).
    const sizes = [256, 512, 1024, 2048];
    const results = [];
    for (const ranks of sizes) results.push(await run({ ranks, rounds: 12, load: 2 }));
    const [first] = results;
    expect(first.ranks).toBeGreaterThan(DIRECT_RANKS_MAX);
    for (const { ranks, messagesPerRound, bytesPerRound } of results) {
      const logs = Math.log2(ranks) / Math.log2(first.ranks);
      expect(messagesPerRound).toBeLessThanOrEqual(1.1 * logs * first.messagesPerRound);
      expect(bytesPerRound).toBeLessThanOrEqual(1.1 * (ranks / first.ranks) * first.bytesPerRound);
    }
  });

  test("sent directly they grow with N: the comparison can fail", async () => {
    const messages = [];
    for (const ranks of [128, 256])
      messages.push((await run({ ranks, rounds: 12, dissemination: "direct" })).messagesPerRound);
    expect(messages[1] / messages[0]).toBeGreaterThan(1.9);
  });
});
