/** The table of faults and the ratios: made from runs alone, and red where one is missing. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseJunit, type TestCase } from "../../../src/chaos/junit.ts";
import {
  failurePlan,
  median,
  orderOf,
  ratiosOf,
  type StorageOverhead,
  storageOverhead,
} from "../../../src/chaos/overhead.ts";
import { parsePlan } from "../../../src/chaos/plan.ts";
import type { RunReport } from "../../../src/chaos/run.ts";
import { chooseRows, describeTable, type Makers, makeTable } from "../../../src/chaos/table.ts";
import { ROWS, type Row } from "../../../src/chaos/table-rows.ts";
import { SCENARIOS } from "../../../src/simulation/plan.ts";

const ROOT = join(import.meta.dir, "../../..");

describe("a JUnit report", () => {
  const text = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="4">
  <testsuite name="test/a.test.ts" file="test/a.test.ts">
    <testcase name="a &lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;" classname="group" time="0.25" file="test/a.test.ts" line="3" assertions="1" />
    <testcase name="alone" classname="" time="1" file="test/a.test.ts" line="9" assertions="1" />
    <testcase name="broken" classname="group" time="0.1" file="test/a.test.ts" line="5" assertions="0">
      <failure type="AssertionError" message="x &gt; y">stack</failure>
    </testcase>
    <testcase name="left out" classname="group" time="0" file="test/a.test.ts" line="7" assertions="0">
      <skipped />
    </testcase>
  </testsuite>
</testsuites>`;

  test("says which tests passed; one that was left out did not", () => {
    expect(parseJunit(text)).toEqual([
      { file: "test/a.test.ts", name: `group > a <b> & "c" 'd'`, passed: true, seconds: 0.25 },
      { file: "test/a.test.ts", name: "alone", passed: true, seconds: 1 },
      { file: "test/a.test.ts", name: "group > broken", passed: false, seconds: 0.1 },
      { file: "test/a.test.ts", name: "group > left out", passed: false, seconds: 0 },
    ]);
    expect(() => parseJunit("error: out of memory")).toThrow(/no JUnit report/);
  });
});

describe("rows", () => {
  test("every row of faults.md is there, with something that shows it", () => {
    const numbers = new Set(ROWS.map(({ id }) => Number.parseInt(id, 10)));
    expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: 54 }, (_, i) => i + 1));
    expect(new Set(ROWS.map(({ id }) => id)).size).toBe(ROWS.length);
    for (const { sources } of ROWS) expect(sources.length).toBeGreaterThan(0);
  });

  test("plans are plans, scenarios are scenarios, and tests of these names stand in these files", () => {
    for (const { id, sources } of ROWS) {
      for (const source of sources) {
        if (source.kind === "simulation") expect(SCENARIOS).toContain(source.scenario);
        if (source.kind === "plan")
          parsePlan({ version: 1, ranks: 4, ...source.plan }, `row ${id}`);
        if (source.kind !== "test") continue;
        expect({ id, names: namesIn(source.file) }).toEqual({
          id,
          names: expect.arrayContaining([expect.stringMatching(source.name)]),
        });
      }
    }
  });

  test("are chosen by number; those of several cases together or alone", () => {
    const ids = (only: string) => chooseRows(only).rows.map(({ id }) => id);
    expect(ids("1,13")).toEqual(["1", "13a", "13b", "13c"]);
    expect(ids("13b")).toEqual(["13b"]);
    expect(chooseRows("1,99").unknown).toEqual(["99"]);
    expect(chooseRows(undefined).rows).toHaveLength(ROWS.length);
  });
});

/** Names of tests and groups as they are written; a story's name is its file's. */
function namesIn(file: string): string[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  // As a report names them: a test that is indented is one of the group before it.
  const names: string[] = [];
  let group = "";
  const written = /^( *)(test|describe)(?:\.each\([^)]*\))?\(\s*"([^"]+)"/gm;
  for (const [, indent, what, name] of text.matchAll(written)) {
    if (what === "describe") group = name;
    else names.push(indent === "" ? name : `${group} > ${name}`);
  }
  const isStory = file.includes("scenario");
  const stories = isStory ? new Bun.Glob("*.txt").scanSync(join(ROOT, "test/scenario")) : [];
  return [...names, ...stories];
}

const FILE = "test/x.test.ts";
const passed = (name: string, isPassed = true): TestCase => {
  return { file: FILE, name, passed: isPassed, seconds: 1 };
};

function makers(change: Partial<Makers> = {}): Makers {
  return {
    runPlan: () => Promise.reject(new Error("no plan is asked for")),
    runTests: () => Promise.resolve([passed("a > one"), passed("a > two"), passed("b", false)]),
    simulate: () => Promise.resolve({ accepted: 10, receipts: 9, violation: undefined }),
    seeds: 3,
    say: () => {},
    ...change,
  };
}

const row = (id: string, ...sources: Row["sources"]): Row => ({ id, fault: "f", sources });
const testOf = (name: RegExp, ofClients = false) => {
  return { kind: "test", file: FILE, name, ofClients } as const;
};

describe("the table", () => {
  test("a proof that failed, and one that is not there, make their rows bad", async () => {
    const rows = [
      row("1", testOf(/^a/, true)),
      row("2", testOf(/b/)),
      row("3", testOf(/c/)),
      row("4"),
    ];
    const table = await makeTable(rows, makers());
    expect(table.map(({ good }) => good)).toEqual([true, false, false, false]);
    expect(table[0].proofs[0]).toMatchObject({ happened: "passed: a > one; a > two" });
    expect(table[0].proofs[0].clients).toBe("passed: a > one; a > two");
    const text = describeTable(table);
    expect(text).toContain("FAILED: b");
    expect(text).toContain("NOT SHOWN: no test matches /c/");
    expect(text).toContain("4 rows; bad: 2, 3, 4");
  });

  test("seeds are added up; the first that breaks a promise is named", async () => {
    const seen: number[] = [];
    const simulate: Makers["simulate"] = (_, seed) => {
      seen.push(seed);
      const violation = seed === 2 ? "S3 | a line" : undefined;
      return Promise.resolve({ accepted: 10, receipts: 9, violation });
    };
    const network = { kind: "simulation", scenario: "network" } as const;
    const [good] = await makeTable([row("1", network)], makers());
    expect(good.proofs[0].clients).toContain("30 transactions accepted, 27 receipts");
    // Two rows that name the same share it.
    const bad = await makeTable([row("1", network), row("2", network)], makers({ simulate }));
    expect(bad.every((each) => !each.good)).toBe(true);
    expect(seen).toEqual([1, 2]);
    expect(describeTable(bad)).toContain("FAILED: seed 2: S3 \\| a line");
  });

  test("a plan's words are those of its run", async () => {
    const plans: unknown[] = [];
    const counts = { submitted: 50, agreed: 50, final: 49, refused: 0, unknown: 1 };
    const audit = { good: true, checks: [], counts, notes: [], epochs: 2 };
    const summary = { epochs: 2, records: { QUORUM: 7, SEAL: 3 } };
    const incidents = [{ text: "SIGKILL for 1 rank", agreedStallMs: 250, finalStallMs: 300 }];
    const runPlan: Makers["runPlan"] = (plan) => {
      plans.push(plan);
      return Promise.resolve({
        ...{ good: false, plan, connections: 5, notes: ["a note", "the second job went away"] },
        figures: { incidents, finalLatency: { p99: 12.34 } },
        ...{ before: { ...audit, summary }, after: { ...audit, summary } },
        checks: [{ promise: "L2", good: false, text: "", problems: ["one is open"] }],
      } as unknown as RunReport);
    };
    const plan = { ranks: 4, seconds: 9, events: [{ do: "kill", at: 3, places: [1] }] };
    const [made] = await makeTable([row("7", { kind: "plan", plan })], makers({ runPlan }));
    expect(plans).toEqual([parsePlan({ version: 1, ...plan }, "")]);
    expect(made.good).toBe(false);
    const [{ happened, clients, producedBy }] = made.proofs;
    expect(happened).toBe(
      "SIGKILL for 1 rank: nothing agreed for 250 ms, nothing final for 300 ms; " +
        "2 epochs, 7 QUORUM, 3 SEAL; the second job went away; L2: one is open",
    );
    expect(clients).toStartWith("49 of 50 told final");
    expect(clients).toContain("1 without a last word");
    expect(producedBy).toBe("scripts/chaos table --only 7");
  });
});

describe("overheads", () => {
  const measured = (transactionsPerSecond: number, agreed: number, final: number) => ({
    transactionsPerSecond,
    agreedMs: { p50: agreed, p99: agreed },
    finalMs: { p50: final, p99: final },
  });

  test("pairs begin by turns, and each gives its own ratio", async () => {
    expect([0, 1, 2].map((pair) => orderOf(pair)[0])).toEqual([
      "no-majority",
      "always",
      "no-majority",
    ]);
    const asked: string[] = [];
    const [result] = await storageOverhead({
      ...{ ranks: [4], pairs: 2, seconds: 1, ratePerRank: 0, say: () => {} },
      measure: ({ flags, ranks }) => {
        asked.push(`${ranks} ${flags[1]}`);
        // The machine is half as fast by the second pair: the ratio does not see it.
        const speed = asked.length > 2 ? 0.5 : 1;
        const rate = flags[1] === "always" ? 400 : 1000;
        return Promise.resolve(measured(rate * speed, 10 / speed, 20 / speed));
      },
    });
    expect(asked).toEqual(["4 no-majority", "4 always", "4 always", "4 no-majority"]);
    expect(result.timeRatio).toBeCloseTo(2.5, 10);
    expect(result).toMatchObject({ agreedRatio: 1, finalRatio: 1 });
  });

  test("the median of the ratios, not the ratio of medians", () => {
    const runs: StorageOverhead["runs"] = [
      ...[1, 1, 100].flatMap((rate, i) => [
        { storageOn: "no-majority" as const, measured: measured(rate, 1, 1) },
        { storageOn: "always" as const, measured: measured(rate / (2 + i), 1, 1) },
      ]),
    ];
    expect(ratiosOf(runs).timeRatio).toBeCloseTo(3, 10);
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  test("ranks that end in mid-validation are named, the speaker is none of them", () => {
    const options = { ranks: 32, killed: [], seconds: 40, rate: 64, count: 1000 };
    const exits = failurePlan({ ...options, by: "hook" }, 3);
    expect(exits.job.fault).toBe("kill@validation:after=1000,process=1-3");
    expect(exits.events).toEqual([]);
    const kills = failurePlan({ ...options, by: "kill" }, 2);
    expect(kills.job.fault).toBeUndefined();
    expect(kills.events).toEqual([{ do: "kill", at: 20, places: [1, 2] }]);
    for (const by of ["hook", "kill"] as const) {
      const { job, events } = failurePlan({ ...options, by }, 0);
      expect([job.fault, events]).toEqual([undefined, []]);
    }
  });
});
