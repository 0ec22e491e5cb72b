/**
 * The simulation in the gate: a fixed number of seeds of each family, whose ledgers the independent
 * reader judges once more, and the same trace for the same seed. `mutations.test.ts` shows that each checker can fail.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type RunReport, simulate } from "../../src/simulation/cluster.ts";
import { planOf, SCENARIOS, type Scenario } from "../../src/simulation/plan.ts";
import { ROOT } from "../../src/simulation/rank-process.ts";
import { resultOf } from "../../src/simulation/seed-run.ts";
import { Tally } from "../../src/simulation/tally.ts";
import type { SimulatedDisk } from "../../src/storage/simulated-disk.ts";
import { readLedger } from "../../src/verify/ledger-reader.ts";

/** Of each family; what passes here passed in hundreds before. */
const SEEDS: Partial<Record<Scenario, number>> = { healing: 2, split: 2, storm: 3 };
const MINUTES_MAX = 4;

const tally = new Tally();
const started = performance.now();
let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-simulated-"));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
  const { seeds, sums } = tally;
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${seeds} seeds in ${seconds.toFixed(1)} s: ${sums.rounds} rounds, ${sums.transactions} transactions`,
  );
});

describe("no promise is broken, and verify agrees", () => {
  for (const [index, scenario] of SCENARIOS.entries()) {
    test(
      scenario,
      async () => {
        const count = SEEDS[scenario] ?? 1;
        for (let i = 0; i < count; i++) {
          const seed = 1 + index + i * SCENARIOS.length;
          const directory = join(root, String(seed));
          const onEnd = (disk: SimulatedDisk) => copyOut(disk, directory);
          const report = await simulate(planOf(seed, { scenario }), { onEnd });
          const replay = `bun src/cli.ts simulate --seed ${seed} --faults ${scenario}`;
          expect(report.violation && `${replay}: ${report.violation.message}`).toBeUndefined();
          expectSize(report);
          expectGood(directory, report);
          tally.add(resultOf(report));
        }
      },
      60_000 * MINUTES_MAX,
    );
  }
});

/** A fault needs rounds before it, and after it. */
function expectSize({ plan, rounds, transactions, faults }: RunReport): void {
  expect(rounds).toBeGreaterThanOrEqual(200);
  expect(transactions).toBeGreaterThanOrEqual(2000);
  const count = Object.values(faults).reduce((sum, each) => sum + each, 0);
  if (plan.scenario !== "calm") expect(count).toBeGreaterThanOrEqual(5);
}

function copyOut(disk: SimulatedDisk, to: string): void {
  for (const path of disk.files().filter((each) => each.startsWith(`${ROOT}/`))) {
    const copy = join(to, path.slice(ROOT.length));
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, disk.find(path)!.bytes);
  }
}

/** The reader judges every SEAL and round by its own rules and executes all once more. */
function expectGood(directory: string, report: RunReport): void {
  const { damages, warnings, summary } = readLedger(directory);
  expect(damages).toEqual([]);
  expect(warnings).toEqual([]);
  expect(summary.slots).toBe(report.slots);
  expect(summary.records.SEAL).toBe(report.kinds.SEAL);
}

test("one seed gives one trace, two seeds give two", async () => {
  const digests: string[] = [];
  for (const seed of [7, 7, 21]) {
    const report = await simulate(planOf(seed, { scenario: "rejoin", brief: true }));
    expect(report.events).toBeGreaterThan(500);
    digests.push(report.digest);
  }
  expect(digests[0]).toBe(digests[1]);
  expect(digests[0]).not.toBe(digests[2]);
}, 120_000);
