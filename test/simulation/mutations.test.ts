/**
 * A checker that cannot fail proves nothing: each deliberate bug of `mutations.ts` must be found, by
 * a rule that it breaks, within a few seeds; and without a bug the same runs break nothing.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { simulate } from "../../src/simulation/cluster.ts";
import { type Hunt, hunt, SEEDS_MAX } from "../../src/simulation/mutation-check.ts";
import { MUTATIONS } from "../../src/simulation/mutations.ts";
import { planOf, type Scenario } from "../../src/simulation/plan.ts";

const hunts: Hunt[] = [];

describe(`caught within ${SEEDS_MAX} seeds`, () => {
  for (const mutation of MUTATIONS)
    test(mutation.bug, async () => {
      const found = await hunt(mutation);
      hunts.push(found);
      expect(mutation.rules).toContain(found.rule!);
    }, 120_000);
});

test("without a bug nothing is broken", async () => {
  const families = new Set<Scenario>(MUTATIONS.map(({ faults = "calm" }) => faults));
  for (const scenario of families) {
    const { violation } = await simulate(planOf(1, { scenario, ranks: 4, brief: true }));
    expect(violation && `${scenario}: ${violation.message}`).toBeUndefined();
  }
}, 120_000);

afterAll(() => {
  for (const { mutation, rule, seeds } of hunts)
    console.log(`${(rule ?? "not caught").padEnd(6)} after ${seeds} seeds: ${mutation.bug}`);
});
