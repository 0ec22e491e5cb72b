/** `baash simulate` as a program: what it says, and that each kind of failure has its exit code. */
import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { EXIT } from "../../../src/base/errors.ts";
import { describeFailure, exitCodeFor } from "../../../src/cli/simulate-report.ts";
import { runCampaign } from "../../../src/simulation/campaign.ts";
import type { SeedResult } from "../../../src/simulation/seed-run.ts";
import { Violation } from "../../../src/simulation/trace.ts";

const CLI = join(import.meta.dir, "../../../src/cli.ts");

function simulate(...args: string[]) {
  const run = Bun.spawnSync([process.execPath, CLI, "simulate", ...args]);
  return { code: run.exitCode, out: run.stdout.toString(), err: run.stderr.toString() };
}

describe("one seed and many", () => {
  let one: SeedResult;
  beforeAll(() => {
    const { code, out } = simulate("--seed", "3", "--faults", "calm", "--ranks", "2", "--json");
    expect(code).toBe(EXIT.ok);
    one = JSON.parse(out);
  }, 60_000);

  test("a process of its own runs the same seed the same way", async () => {
    const results: string[] = [];
    await runCampaign({
      ...{ from: 3, count: 1, untilMs: Number.POSITIVE_INFINITY, jobs: 2, keepGoing: false },
      ...{ faults: "calm", ranks: 2 },
      onResult: (result) => results.push("digest" in result ? result.digest : "lost"),
    });
    expect(results).toEqual([one.digest]);
  }, 60_000);

  test("no seed is begun after the time is over", async () => {
    let told = 0;
    await runCampaign({
      ...{ from: 1, count: 1000, untilMs: performance.now() - 1, jobs: 1, keepGoing: true },
      onResult: () => told++,
    });
    expect(told).toBe(0);
  });
});

test("a process that dies is the failure of its seed", async () => {
  const told: unknown[] = [];
  // Of this no genesis can be made, which ends the worker with an exception that nobody catches.
  await runCampaign({
    ...{ from: 5, count: 1, untilMs: Number.POSITIVE_INFINITY, jobs: 1, keepGoing: false },
    quorum: "none" as never,
    onResult: ({ seed, broken }) => told.push([seed, broken?.family]),
  });
  expect(told).toEqual([[5, "crash"]]);
}, 60_000);

describe("what a failure says", () => {
  const result = {
    ...{ seed: 9, scenario: "storm", ranks: 4, timeline: ["round 7: proposed by 0.1"] },
    broken: { rule: "S5", family: "safety", message: "S5: 0.1 votes twice" },
  } as unknown as SeedResult;

  test("seed, commit, rule, rounds and the command", () => {
    const text = describeFailure(result, { faults: "storm", quorum: "byzantine" });
    expect(text).toMatch(/seed 9, faults storm, 4 ranks, commit ([0-9a-f]{40}|unknown)/);
    expect(text).toContain("broken (safety): S5: 0.1 votes twice");
    expect(text).toContain("round 7: proposed by 0.1");
    expect(text).toContain(
      "replay: bun src/cli.ts simulate --seed 9 --faults storm --quorum byzantine",
    );
  });

  test("exit codes tell safety, liveness and crashes apart", () => {
    const codeOf = (rule: string) => exitCodeFor(new Violation(rule, "").family);
    expect(["S1", "S14"].map(codeOf)).toEqual([EXIT.failed, EXIT.failed]);
    expect(["L2", "QUEUE"].map(codeOf)).toEqual([EXIT.stalled, EXIT.stalled]);
    expect(["CRASH", "HALT"].map(codeOf)).toEqual([EXIT.software, EXIT.software]);
  });
});

test("a wrong command line is told", () => {
  const wrong = [["--trace"], ["--faults", "none"], ["--minutes", "0"], ["--jobs", "0"]];
  for (const args of wrong) {
    const { code, err } = simulate(...args);
    expect(code).toBe(EXIT.usage);
    expect(err).toStartWith("baash:");
  }
});
