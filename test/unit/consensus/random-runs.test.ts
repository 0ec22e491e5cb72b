/**
 * Random networks, storage troubles, deaths, suspicions and seals: safety holds at every end, and once
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

test("storms are what they claim to be", () => {
  const seen = new Map<string, number>();
  const saw = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  for (let seed = 1; seed <= 150; seed++) {
    const cluster = runSeed(seed);
    const log = cluster.log();
    for (const [index, { kind, answers = [], admit = [], epoch, settlement }] of log.entries()) {
      if (kind === "INTENT")
        saw(log[index + 1]?.kind === "SEAL" ? "INTENT kept" : "INTENT refuted");
      if (kind !== "SEAL") continue;
      saw(answers.length < epoch.processes.length / 2 ? "SEAL of a minority" : "SEAL of R");
      if (settlement.length > 0) saw("SEAL that settles rounds");
      if (admit.length > 0) saw("SEAL that admits");
      if (epoch.number > 2) saw("SEAL of a later epoch");
    }
    if (cluster.members.some(({ parts }) => parts.length > 3)) saw("member of four epochs");
  }
  expect([...seen.keys()].sort()).toEqual([
    "INTENT kept",
    "INTENT refuted",
    "SEAL of R",
    "SEAL of a later epoch",
    "SEAL of a minority",
    "SEAL that admits",
    "SEAL that settles rounds",
    "member of four epochs",
  ]);
}, 60_000);
