/**
 * The simulation in the gate: some seeds of each scenario, whose ledgers the independent reader judges
 * once more, and the same trace for the same seed. `mutations.test.ts` shows that each checker can fail.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type RunReport, simulate } from "../../src/simulation/cluster.ts";
import { planOf, SCENARIOS, type Scenario } from "../../src/simulation/plan.ts";
import { ROOT } from "../../src/simulation/rank-process.ts";
import type { SimulatedDisk } from "../../src/storage/simulated-disk.ts";
import { readLedger } from "../../src/verify/ledger-reader.ts";

const SEEDS: Partial<Record<Scenario, number>> = {
  ...{ calm: 1, network: 1, collectives: 1, corruption: 1, tight: 1 },
  ...{ eviction: 2, healing: 2, split: 2, rejoin: 2, storm: 5 },
};
const SEEDS_OF_OTHERS = 2;

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-simulated-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("no promise is broken, and verify agrees", () => {
  for (const [index, scenario] of SCENARIOS.entries()) {
    test(scenario, async () => {
      const count = SEEDS[scenario] ?? SEEDS_OF_OTHERS;
      for (let i = 0; i < count; i++) {
        const seed = 1 + index + i * SCENARIOS.length;
        const directory = join(root, String(seed));
        const onEnd = (disk: SimulatedDisk) => copyOut(disk, directory);
        const report = await simulate(planOf(seed, { scenario }), { onEnd });
        const replay = `bun src/cli.ts simulate --seed ${seed} --faults ${scenario}`;
        expect(report.violation && `${replay}: ${report.violation.message}`).toBeUndefined();
        expect(report.slots).toBeGreaterThan(1);
        expectGood(directory, report);
      }
    }, 240_000);
  }
});

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
    const report = await simulate(planOf(seed, { scenario: "rejoin" }));
    expect(report.events).toBeGreaterThan(500);
    digests.push(report.digest);
  }
  expect(digests[0]).toBe(digests[1]);
  expect(digests[0]).not.toBe(digests[2]);
}, 120_000);
