/** A rank that runs into a bug makes the run red, also where nothing was lost by it. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endCodesOf, readEndCodes, unexplainedEnds } from "../../../src/chaos/end-codes.ts";
import { parsePlan } from "../../../src/chaos/plan.ts";

const planOf = (events: object[], job: object = {}) =>
  parsePlan({ version: 1, ranks: 4, seconds: 20, events, job }, "test");
const calm = planOf([]);
const kill = planOf([{ do: "kill", at: 1, places: [0] }]);
const storage = planOf([{ do: "storage", at: 1, for: 1, fault: "gone" }]);
const stop = planOf([{ do: "stop", at: 1, for: 9, places: [0] }]);

describe("last words", () => {
  test("are found among all else, also glued to the launcher's", () => {
    const text = [
      "baash: rank 0 of 4 serves at slot 0",
      "baash: process 3 (pid 12) ends with code 70",
      "mpirun: somethingbaash: process 0 (pid 9) ends with code 0",
    ].join("\n");
    expect(endCodesOf(text)).toEqual([70, 0]);
    const run = mkdtempSync(join(tmpdir(), "baash-words-"));
    writeFileSync(join(run, "job.err"), text);
    expect(readEndCodes([run, join(run, "none")])).toEqual([70, 0]);
    rmSync(run, { recursive: true });
  });
});

describe("ends that nothing explains", () => {
  test("a bug, whatever was done to the job", () => {
    for (const plan of [calm, kill, storage, stop]) {
      expect(unexplainedEnds([0, 70, 70], plan)).toEqual([
        "2 ranks ended with code 70, a bug of ours",
      ]);
    }
    const exits = planOf([], { fault: "exit@validation:after=3,process=1" });
    expect(unexplainedEnds([70], exits)).toEqual([]);
    expect(unexplainedEnds([70], planOf([], { fault: "throw@validation:rate=0.1" }))).toHaveLength(
      1,
    );
  });

  test("files only where storage failed; a ledger in use only where somebody slept", () => {
    expect(unexplainedEnds([74, 69, 75, 78], storage)).toEqual([]);
    expect(unexplainedEnds([74, 69], calm)).toHaveLength(2);
    expect(unexplainedEnds([75], stop)).toEqual([]);
    expect(unexplainedEnds([75], kill)).toEqual(["1 rank ended with code 75"]);
  });
});
