/** The command line of scripts/bench: what is refused before anything is started. */
import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../../../src/base/errors.ts";
import { type Flags, readOptions, suiteLines } from "../../../../src/cli/bench/options.ts";
import { SUITES } from "../../../../src/cli/bench/suites.ts";

const namesOf = (...names: string[]) => readOptions(names, {}).plans.map(({ suite }) => suite.name);

test("without a suite it is the headline, five runs; all are all", () => {
  expect(namesOf()).toEqual(["headline"]);
  expect(namesOf("blocks", "ranks", "blocks")).toEqual(["blocks", "ranks"]);
  expect(namesOf("ranks", "all")).toEqual(SUITES.map(({ name }) => name));
  expect(readOptions([], {})).toMatchObject({ runs: 5, quick: false, json: false });
  expect(readOptions([], { quick: true }).runs).toBe(1);
  expect(readOptions([], { quick: true, runs: "2" }).runs).toBe(2);
});

test("flags name parts of the setting, --at the points", () => {
  const flags = { blockSize: "4", seconds: "0.5", quorum: "byzantine", at: "2, 3" };
  const [{ settings }] = readOptions(["ranks"], flags).plans;
  expect(settings).toMatchObject([
    { ranks: 2, blockTransactions: 4, seconds: 0.5, quorum: "byzantine" },
    { ranks: 3, blockTransactions: 4 },
  ]);
  expect(readOptions(["sync"], { at: "off" }).plans[0].settings).toHaveLength(1);
});

test.each<[string[], Flags, RegExp]>([
  [["rank"], {}, /no suite "rank"/],
  [[], { runs: "0" }, /--runs is a whole number from 1/],
  [[], { blockSize: "x" }, /--block-size is a whole number/],
  [[], { ack: "soon" }, /--ack is agreed, final/],
  [[], { seconds: "0" }, /--seconds is a number from 0\.1/],
  [["quorum"], { at: "unanimous" }, /--at is majority, byzantine/],
  [["ranks", "sync"], { at: "1" }, /one suite alone/],
  [[], { out: "/no/such/place/b.json" }, /no directory/],
  [["ranks", "sync"], { svg: join(tmpdir(), "b.svg") }, /name a directory/],
])("%p %p is refused", (names, flags, message) => {
  const refused = expect.objectContaining({
    exitCode: EXIT.usage,
    message: expect.stringMatching(message),
  });
  expect(() => readOptions(names, flags)).toThrow(refused);
});

test("the help has a line for each suite that fits a terminal", () => {
  const lines = suiteLines().split("\n");
  expect(lines).toHaveLength(SUITES.length);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
});
