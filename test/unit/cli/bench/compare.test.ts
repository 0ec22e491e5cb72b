/** Two benchmarks beside each other: changes, conditions, what is said, and which files are refused. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../../../src/base/errors.ts";
import {
  changesOf,
  compareText,
  isMet,
  metConditions,
  parseCondition,
} from "../../../../src/cli/bench/compare.ts";
import { readResult } from "../../../../src/cli/bench/result.ts";
import { benchOf, runSuite } from "../../../support/bench-results.ts";

const root = mkdtempSync(join(tmpdir(), "baash-compare-"));
afterAll(() => rmSync(root, { recursive: true }));

/** Throughput of the sync suite, its median `rate`, off twice as fast. */
async function benchmark(rate: number, finalP99Ms = 100) {
  const { result } = await runSuite("sync", ({ sync }, run) => ({
    figures: { throughput: (sync === "on" ? rate : 2 * rate) + run - 1, finalP99Ms },
  }));
  return benchOf(result);
}

const [before, slower] = await Promise.all([benchmark(1000), benchmark(850)]);
const meeting = (text: string) =>
  metConditions([parseCondition(text)], changesOf(before, slower)).map(
    ({ change }) => change.point,
  );

describe("conditions", () => {
  test("are a figure, an operator, and percent", () => {
    expect(parseCondition(" throughput < -10 % ")).toMatchObject({
      ...{ metric: "throughput", operator: "<", percent: -10 },
    });
    expect(parseCondition("finalP99Ms>=+7.5%")).toMatchObject({ operator: ">=", percent: 7.5 });
  });

  test.each([
    "throughput",
    "throughput<10",
    "speed<-10%",
    "toString<1%",
    "throughput=1%",
    "<-10%",
    "",
  ])("are not %p", (text) => {
    expect(() => parseCondition(text)).toThrow(expect.objectContaining({ exitCode: EXIT.usage }));
  });

  test("are met at their bound as they say", () => {
    const [change] = changesOf(before, before);
    const met = (text: string) => isMet(parseCondition(text), change);
    expect(["<0%", "<=0%", ">0%", ">=0%"].map((rest) => met(`throughput${rest}`))).toEqual([
      ...[false, true, false, true],
    ]);
    const unknown = { ...change, percent: undefined };
    expect(isMet(parseCondition("throughput>=-1000%"), unknown)).toBe(false);
  });

  test("are asked of each point", () => {
    expect(meeting("throughput<-10%")).toEqual(["sync on", "sync off"]);
    expect(meeting("throughput<-15.1%")).toEqual([]);
    expect(meeting("finalP99Ms>0%")).toEqual([]);
  });

  test("on what the benchmarks do not share are a mistake", () => {
    expect(() => meeting("startMs>5%")).toThrow("share no point");
  });
});

describe("the table", () => {
  test("has old, new, the change, and whether it is more than chance", () => {
    const lines = compareText(before, slower).split("\n");
    const throughput = lines.filter((line) => line.includes("throughput"));
    expect(throughput[0]).toMatch(/^sync +sync on +throughput +1 000 +850 +-15\.0 % +worse$/);
    expect(lines.find((line) => line.includes("finalP99Ms"))).toMatch(/100 ms +100 ms +0\.0 %$/);
    expect(compareText(slower, before)).toContain("better");
    expect(lines.every((line) => line.length <= 100)).toBe(true);
  });

  test("pairs points by their setting, and names those without another", async () => {
    const ranks = await runSuite("ranks", () => ({ figures: { throughput: 1 } }));
    const text = compareText(before, benchOf(...before.suites, ranks.result));
    expect(text).toContain("only in the new one: ranks, ranks 64\n");
    const [suite] = before.suites;
    const points = suite.points.map((point) => ({
      ...point,
      parameters: { ...point.parameters, difficulty: 20 },
    }));
    expect(changesOf(before, benchOf({ ...suite, points }))).toEqual([]);
    const shorter = suite.points.map((point) => ({
      ...point,
      parameters: { ...point.parameters, seconds: 1, warmup: 0 },
    }));
    expect(changesOf(before, benchOf({ ...suite, points: shorter }))).toHaveLength(4);
  });
});

describe("a file", () => {
  const file = (text: string) => {
    const path = join(root, `${Bun.hash(text)}.json`);
    writeFileSync(path, text);
    return path;
  };

  test("comes back as it was written", async () => {
    expect(await readResult(file(JSON.stringify(before)))).toEqual(before);
  });

  test("of another kind, version or shape is refused with its place", async () => {
    const refusal = (text: string) => readResult(file(text)).catch((error) => error);
    expect(await refusal("{")).toMatchObject({ exitCode: EXIT.usage });
    expect((await refusal(JSON.stringify({ ...before, version: 2 }))).message).toContain("version");
    const suites = [{ ...before.suites[0], axis: "colour" }];
    expect((await refusal(JSON.stringify({ ...before, suites }))).message).toContain(
      "suites.0.axis",
    );
    const missing = await readResult(join(root, "none")).catch((error) => error);
    expect(missing).toMatchObject({ exitCode: EXIT.io });
  });
});
