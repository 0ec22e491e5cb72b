/** What is run: the setting of each point, the properties and the ceiling's flags that follow from it. */
import { describe, expect, test } from "bun:test";
import { ceilingArguments, hasCeiling } from "../../../../src/cli/bench/ceiling.ts";
import { planOf, propertiesOf } from "../../../../src/cli/bench/load-run.ts";
import { PRESET } from "../../../../src/cli/bench/setting.ts";
import { SUITES, settingsOf } from "../../../../src/cli/bench/suites.ts";
import { MergedUsage } from "../../../../src/workload/usage.ts";
import { GIVEN, suiteNamed } from "../../../support/bench-results.ts";

const settings = (name: string, given = {}) => settingsOf(suiteNamed(name), { ...GIVEN, ...given });

describe("points", () => {
  test.each(SUITES.map((suite) => [suite.name, suite] as const))(
    "of %s vary what it is about, and nothing else",
    (_, suite) => {
      const points = settingsOf(suite, GIVEN);
      expect(points.map((point) => point[suite.axis])).toEqual([...suite.values]);
      const rest = points.map(({ warmup, ...point }) => ({ ...point, [suite.axis]: 0 }));
      for (const point of rest) expect(point).toEqual(rest[0]);
    },
  );

  test("of the issue are all there", () => {
    const values = (name: string) => suiteNamed(name).values;
    expect(values("ranks")).toEqual([1, 2, 4, 8, 16, 32, 64]);
    expect(values("blocks")).toEqual([1, 4, 16, 100, 1000]);
    expect(values("values")).toEqual([16, 100, 256, 1024]);
    expect(values("difficulty")).toEqual([0, 4, 8, 12]);
    expect(values("chain")).toEqual([1, 10, 100, 1000, 10_000]);
    expect(values("workloads")).toHaveLength(7);
  });

  test("take flags before their own, but not for what they vary", () => {
    const parts = { ranks: 16, records: 7, blockTransactions: 4 };
    expect(settings("cost", { parts })[0]).toMatchObject({
      ranks: 1,
      records: 7,
      blockTransactions: 4,
    });
    expect(settings("headline", { parts })).toMatchObject([{ ranks: 16 }]);
    expect(settings("ranks", { parts, at: [3] })).toMatchObject([{ ranks: 3, records: 7 }]);
  });

  test("of a quick run are two short ones, unless somebody names them", () => {
    expect(settings("ranks", { quick: true })).toMatchObject([
      { ranks: 1, seconds: 1, records: 1000 },
      { ranks: 2, seconds: 1, records: 1000 },
    ]);
    const parts = { seconds: 7 };
    expect(settings("ranks", { quick: true, parts, at: [1, 2, 3] })).toHaveLength(3);
    expect(settings("ranks", { quick: true, parts })[0].seconds).toBe(7);
    expect(settings("chain", { quick: true })[0]).toMatchObject({ seconds: 0, warmup: 0 });
  });

  test("warm up for longer where ranks crowd the cores", () => {
    const warmups = settings("ranks").map(({ warmup }) => warmup);
    expect(warmups).toEqual([3, 3, 3, 6, 12, 24, 48]);
    expect(
      new Set(settings("ranks", { parts: { warmup: 1 } }).map(({ warmup }) => warmup)),
    ).toEqual(new Set([1]));
  });
});

describe("a run", () => {
  test("of updates writes one value, as fast as it goes, warm", async () => {
    const { workload, breakdown } = await planOf(
      { ...PRESET, valueBytes: 16 },
      { breakdown: true },
    );
    expect(workload).toMatchObject({
      ...{ recordcount: 100_000, operationcount: 0, maxexecutiontime: 10, target: 0 },
      ...{ fieldcount: 1, fieldlength: 16, updateproportion: 1, readproportion: 0 },
      ...{ "baash.ranks": 4, "baash.blocksize": 1000, "baash.difficulty": 8, "baash.warmup": 3 },
      ...{ "baash.quorum": "majority", "baash.sync": true, "baash.ack": "agreed" },
    });
    expect(breakdown).toBe(true);
  });

  test("of every point of every suite is one that ycsb-load takes", async () => {
    for (const suite of SUITES.filter(({ kind }) => kind === "load"))
      for (const setting of settingsOf(suite, GIVEN))
        expect((await planOf(setting, { breakdown: false })).workload["baash.ranks"]).toBe(
          setting.ranks,
        );
  });

  test("takes a workload as it is, a quorum, no syncing, a load", async () => {
    const odd = {
      ...PRESET,
      workload: "workloadc",
      quorum: "byzantine",
      sync: "off",
      offered: 500,
    };
    const { workload } = await planOf(odd, { breakdown: false });
    expect(workload).toMatchObject({
      ...{ readproportion: 1, fieldcount: 10, requestdistribution: "zipfian", target: 500 },
      ...{ "baash.quorum": "byzantine", "baash.sync": false },
    });
  });

  test("of so many blocks ends with them, and all of it is meant to start at once", () => {
    const setting = { ...PRESET, blocks: 10, blockTransactions: 4 };
    expect(propertiesOf(setting)).toMatchObject({
      operationcount: 40,
      maxexecutiontime: 0,
      target: 1e9,
    });
  });
});

describe("the ceiling", () => {
  const usage = Object.assign(new MergedUsage(), { ranks: 4, rounds: 10, transactions: 120_000 });
  const flags = (setting = PRESET, of = usage) => {
    const args = ceilingArguments(setting, of);
    return { text: args.join(" "), after: (name: string) => args[args.indexOf(name) + 1] };
  };

  test("has the bytes, blocks, rounds, puzzle and time of its ledger", () => {
    // 48 of header, 23 of key, 5 before the field, 6 of its name.
    expect(flags().text).toBe(
      "--txn-bytes 182 --value-bytes 100 --block-txns 1000 --blocks-per-round 3 --bits 8 --seconds 10",
    );
    expect(flags({ ...PRESET, valueBytes: 1024 }).after("--txn-bytes")).toBe("1106");
    expect(flags({ ...PRESET, sync: "off" }).text).toEndWith("--no-sync");
    expect(flags({ ...PRESET, blockTransactions: 1 }).after("--blocks-per-round")).toBe("3000");
    expect(flags(PRESET, new MergedUsage()).after("--blocks-per-round")).toBe("1");
  });

  test("stands beside loads of updates that are not throttled", () => {
    const having = (name: string) => settings(name).map(hasCeiling);
    expect(having("sync")).toEqual([true, true]);
    expect(having("workloads")).toEqual([true, false, false, false, false, true, false]);
    for (const name of ["load", "chain", "cost"]) expect(having(name)).not.toContain(true);
  });
});
