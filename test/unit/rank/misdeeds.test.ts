import { expect, test } from "bun:test";
import { BaashError } from "../../../src/base/errors.ts";
import { LogHints } from "../../../src/rank/log-hints.ts";
import { Misdeeds, QUARANTINED_MAX } from "../../../src/rank/misdeeds.ts";

function misdeedsOf(processes: number, fails = false) {
  const kept: string[] = [];
  const alerts: string[] = [];
  const misdeeds = new Misdeeds(processes, {
    quarantine: async (name, bytes) => {
      if (fails) throw new BaashError("STORAGE_FULL", "no room");
      kept.push(`${name} ${bytes.length}`);
    },
    onAlert: ({ code }) => alerts.push(code),
  });
  return { misdeeds, kept, alerts };
}

test("misdeeds are counted by process and reason; the first of each is kept", async () => {
  const { misdeeds, kept, alerts } = misdeedsOf(4);
  const bytes = new Uint8Array(9);
  for (let i = 0; i < 3; i++) misdeeds.note(2, "BAD_VOTE", bytes);
  misdeeds.note(2, "STALE_ANCHOR");
  misdeeds.note(1, "BAD_VOTE", new Uint8Array(3 << 20));
  misdeeds.note(1, "UNAUTHENTIC");
  misdeeds.withdraw(1, "UNAUTHENTIC");
  misdeeds.withdraw(3, "UNAUTHENTIC");
  await Promise.resolve();
  expect(misdeeds.counters).toEqual({ 1: { BAD_VOTE: 1 }, 2: { BAD_VOTE: 3, STALE_ANCHOR: 1 } });
  expect(kept).toEqual(["2.bad-vote 9", `1.bad-vote ${1 << 20}`]);
  expect(alerts).toEqual(["MISDEED", "MISDEED"]);
});

test("the ranks of a job keep so many together, whatever comes", async () => {
  for (const processes of [1, 4, 100]) {
    const { misdeeds, kept } = misdeedsOf(processes);
    for (let i = 0; i < 10_000; i++) misdeeds.note(i % 50, `REASON_${i % 9}`, new Uint8Array(1));
    await Promise.resolve();
    expect(kept.length).toBe(Math.max(1, Math.floor(QUARANTINED_MAX / processes)));
  }
});

test("storage that keeps nothing is an alert, no more", async () => {
  const { misdeeds, alerts } = misdeedsOf(1, true);
  misdeeds.note(0, "BAD_VOTE", new Uint8Array(1));
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(alerts).toEqual(["STORAGE_FULL"]);
});

function hintsAt(head: number) {
  const chain = { slot: head };
  let polls = 0;
  let now = 0;
  const due: (() => void)[] = [];
  const hints = new LogHints({
    chain,
    clock: {
      now: () => now,
      schedule: (_at: number, callback: () => void) => {
        due.push(callback);
        return () => {};
      },
    },
    settings: { timing: { readDelayMs: 10 } },
    emit: () => polls++,
  } as never);
  const pass = () => {
    now += 10;
    for (const callback of due.splice(0)) callback();
  };
  return { chain, hints, pass, polls: () => polls };
}

test("a hint is looked after until the record is there, and a lie only so often", () => {
  const { chain, hints, pass, polls } = hintsAt(5);
  hints.hint(1, 5);
  expect(polls()).toBe(0);
  hints.hint(1, 6);
  expect(polls()).toBe(1);
  chain.slot = 6;
  pass();
  expect(polls()).toBe(1);
  // A record after it, announced at once.
  hints.hint(1, 7);
  expect(polls()).toBe(2);
  // Somebody who lies, as often as it likes.
  for (let i = 0; i < 1000; i++) hints.hint(2, 2 ** 40 + i);
  for (let i = 0; i < 20; i++) pass();
  expect(polls()).toBeLessThan(12);
  const before = polls();
  for (let i = 0; i < 1000; i++) hints.hint(2, 2 ** 41);
  expect(polls()).toBe(before);
  // The others are believed as before.
  chain.slot = 8;
  hints.hint(1, 9);
  expect(polls()).toBe(before + 1);
});
