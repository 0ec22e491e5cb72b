/** What an end means, from evidence that does not agree. */
import { describe, expect, test } from "bun:test";
import { type JobEnd, judgeEnd } from "../../../src/supervisor/job-end.ts";
import { parseStatus } from "../../../src/supervisor/job-status.ts";

const NOTHING: JobEnd = {
  ranks: 4,
  served: false,
  status: undefined,
  words: [],
  launcher: { code: 0, signal: null },
  sentence: undefined,
  launcherText: undefined,
};
const status = (state: string, exitCode?: number) =>
  parseStatus(
    JSON.stringify({
      state,
      ...(exitCode !== undefined && {
        reason: { code: "X", message: "BaashError: as told", exitCode },
      }),
    }),
  );

describe("the end of a job", () => {
  test.each<[string, Partial<JobEnd>, object]>([
    ["sealed, says the status", { status: status("stopped"), words: [70] }, { kind: "clean" }],
    [
      "the status beats the words",
      { served: true, status: status("failed", 75), words: [70, 70, 70, 70], sentence: "other" },
      { kind: "busy", why: "as told" },
    ],
    [
      "the status beats the launcher",
      { status: status("failed", 78), launcher: { code: 70, signal: null } },
      { kind: "final", exitCode: 78 },
    ],
    [
      "it was running, then nothing: killed",
      { served: true, status: status("running"), sentence: "rank 0 serves" },
      { kind: "death", exitCode: 69, told: false, why: "all its ranks were killed" },
    ],
    ["one rank saw the SEAL of a clean stop", { words: [0], served: true }, { kind: "clean" }],
    [
      "the heaviest word of a start that failed",
      { words: [69, 69, 78, 69], sentence: "no key" },
      { kind: "final", exitCode: 78, why: "no key" },
    ],
    [
      "one was sealed out, the others were killed later",
      { words: [75], served: true, sentence: "I was sealed out" },
      { kind: "death", exitCode: 69, told: false, why: "all its ranks were killed" },
    ],
    [
      "all were sealed out: another job has the ledger",
      { words: [75, 75, 75, 75], served: true, sentence: "taken over by n2" },
      { kind: "busy", why: "taken over by n2" },
    ],
    [
      "a replacement could not start, the others were killed later",
      { words: [78], served: true },
      { kind: "death", exitCode: 69 },
    ],
    [
      "one by one, for different reasons",
      { words: [75, 70, 74], served: true },
      { kind: "death", exitCode: 74, told: true },
    ],
    [
      "MPI_Abort: its code is the launcher's",
      { launcher: { code: 70, signal: null }, served: true },
      { kind: "death", exitCode: 70, told: true },
    ],
    [
      "codes 1 and 2 of a launcher are its own",
      { launcher: { code: 2, signal: null }, launcherText: "not enough slots" },
      { kind: "death", exitCode: 69, told: false, why: "not enough slots" },
    ],
    [
      "the launcher was killed",
      { launcher: { code: null, signal: "SIGKILL" } },
      { kind: "death", exitCode: 69, why: "its launcher ended with SIGKILL" },
    ],
    [
      "one rank without a launcher: wrong flags",
      { ranks: 1, words: [2], launcher: { code: 2, signal: null }, sentence: "unknown option" },
      { kind: "final", exitCode: 2, why: "unknown option" },
    ],
    [
      "failed, and the reason cannot be read",
      { status: parseStatus('{"state":"failed","reason":7}'), words: [74, 74, 74, 74] },
      { kind: "death", exitCode: 74, told: true },
    ],
    ["a code of nobody", { words: [139, 139, 139, 139] }, { kind: "death", exitCode: 69 }],
  ])("%s", (_name, part, verdict) => {
    expect(judgeEnd({ ...NOTHING, ...part })).toMatchObject(verdict);
  });
});
