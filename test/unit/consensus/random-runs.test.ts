/**
 * Random networks, storage troubles and deaths of a minority: safety holds at every end, and once
 * the faults stop everything that is pending gets settled within bounded time. A failure prints the
 * seed: `runSeed(<seed>)` runs it again. CONSENSUS_RUNS asks for more runs than the gate makes.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { runSeed } from "../../support/consensus-storm.ts";

test("safety always, and progress once the faults stop", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fff_ffff }), (seed) => {
      const cluster = runSeed(seed);
      expect(cluster.members.every(({ halted }) => halted === undefined)).toBe(true);
    }),
    { numRuns: Number(process.env.CONSENSUS_RUNS ?? 300) },
  );
}, 120_000);
