/** The supervisor's policy under a virtual clock: no process, no waiting. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { EXIT } from "../../../src/base/errors.ts";
import type { JobEnd } from "../../../src/supervisor/job-end.ts";
import { DEFAULT_POLICY } from "../../../src/supervisor/policy.ts";
import { endOf, KILLED, RANKS, SEALED, told, World } from "../../support/supervised-world.ts";

/** Pauses before each launch but the first, when every job ends at once. */
function pauses(world: World, end: JobEnd, count: number): number[] {
  const found: number[] = [];
  for (let i = 0; i < count; i++) {
    const at = world.now;
    world.end(end);
    world.pass(world.due() - world.now);
    found.push(world.launches.at(-1)! - at);
  }
  return found;
}

describe("restarts", () => {
  test("wait 1 s, then twice as long each time, up to 60 s", () => {
    const world = new World({ crashLimit: 100 });
    const expected = [1, 2, 4, 8, 16, 32, 60, 60, 60].map((s) => 1000 * s);
    expect(pauses(world, KILLED, 9)).toEqual(expected);
    expect(world.launches).toHaveLength(10);
  });

  test("wait 1 s again after a job that served for a healthy time, and only then", () => {
    const world = new World({ crashLimit: 100 });
    expect(pauses(world, KILLED, 3)).toEqual([1000, 2000, 4000]);
    world.live(DEFAULT_POLICY.healthyMs - 1, 5);
    expect(world.last).toMatchObject({ kind: "died", restartMs: 8000 });
    world.pass(8000);
    world.live(DEFAULT_POLICY.healthyMs, 0);
    expect(world.last).toMatchObject({ kind: "died", restartMs: 1000 });
  });

  test("the time before a job serves is not healthy", () => {
    const world = new World({ crashLimit: 100 });
    pauses(world, KILLED, 2);
    world.step({ type: "status", state: "starting", settledRound: 0 });
    world.pass(10 * DEFAULT_POLICY.healthyMs);
    world.end(KILLED);
    expect(world.last).toMatchObject({ kind: "died", restartMs: 4000 });
  });
});

describe("a job of which a rank ended before it served", () => {
  const { incompleteMs, endMs } = DEFAULT_POLICY;

  test("is ended when the others do not end by themselves, and started again", () => {
    const world = new World();
    world.pass(100);
    for (const processes of [1, 1, 2]) {
      world.step({ type: "missing", processes });
      world.pass(200);
    }
    world.pass(incompleteMs + endMs);
    expect(world.signals).toEqual([
      [100 + incompleteMs, "SIGKILL"],
      [100 + incompleteMs + endMs, "SIGKILL"],
    ]);
    expect(world.events[0]).toEqual({ kind: "incomplete", processes: 2 });
    world.end(endOf({}));
    world.pass(1000);
    expect(world.launches).toHaveLength(2);
    // What was missing in the job before is not held against this one.
    world.pass(10 * incompleteMs);
    expect(world.signals).toHaveLength(2);
  });

  test("is left alone when all are there after all", () => {
    const world = new World();
    world.step({ type: "missing", processes: 2 });
    world.pass(incompleteMs - 1);
    world.step({ type: "missing", processes: 0 });
    world.pass(10 * incompleteMs);
    expect(world.signals).toEqual([]);
  });

  test("is left alone once it serves, and when a stop was asked it has its time for that", () => {
    const world = new World();
    world.step({ type: "missing", processes: 1 });
    world.step({ type: "status", state: "running", settledRound: 0 });
    world.step({ type: "missing", processes: 1 });
    world.pass(10 * incompleteMs);
    expect(world.signals).toEqual([]);

    const stopped = new World();
    stopped.step({ type: "missing", processes: 1 });
    stopped.stop();
    stopped.step({ type: "missing", processes: 2 });
    stopped.pass(DEFAULT_POLICY.drainMs - 1);
    expect(new Set(stopped.signals.map(([, signal]) => signal))).toEqual(new Set(["SIGUSR1"]));
  });
});

test("what is left of a job that has closed the ledger is ended, and the stop is clean", () => {
  for (const isAsked of [true, false]) {
    const world = new World();
    world.step({ type: "status", state: "running", settledRound: 0 });
    world.pass(1000);
    if (isAsked) world.stop();
    world.step({ type: "status", state: "stopped", settledRound: 1 });
    world.pass(DEFAULT_POLICY.leftoverMs - 1);
    expect(world.signals.map(([, signal]) => signal)).not.toContain("SIGKILL");
    world.pass(1);
    expect(world.signals.at(-1)).toEqual([1000 + DEFAULT_POLICY.leftoverMs, "SIGKILL"]);
    expect(world.last).toEqual({ kind: "leftover" });
    world.end(SEALED);
    expect(world.last).toMatchObject({ kind: "stopped", isClean: true });
    expect(world.exitCode).toBe(EXIT.ok);
  }
});

test("a job that closed its ledger before it was seen to serve is no start that failed", () => {
  const world = new World();
  world.step({ type: "status", state: "stopped", settledRound: 1 });
  for (const processes of [0, 2, 0]) world.step({ type: "missing", processes });
  world.pass(DEFAULT_POLICY.leftoverMs - 1);
  expect(world.signals).toEqual([]);
  world.pass(1);
  expect(world.last).toEqual({ kind: "leftover" });
});

test("a ledger that fitted and does not now is tried again: storage may come back", () => {
  const world = new World({ crashLimit: 3 });
  world.live(100, 1);
  world.pass(1000);
  world.end(told(EXIT.configuration));
  expect(world.last).toMatchObject({ kind: "died", why: "the reason.", exitCode: 78 });
  world.pass(2000);
  expect(world.launches).toHaveLength(3);
  world.end(told(EXIT.configuration));
  expect(world.last).toMatchObject({ kind: "gave-up", deaths: 3 });
  expect(world.exitCode).toBe(EXIT.configuration);

  const fresh = new World();
  fresh.end(told(EXIT.configuration));
  expect(fresh.exitCode).toBe(EXIT.configuration);
});

describe("a crash loop", () => {
  test("ends with the code of the last death, and says how many in how long", () => {
    const world = new World({ crashLimit: 3 });
    pauses(world, KILLED, 2);
    world.end(told(EXIT.io));
    expect(world.exitCode).toBe(EXIT.io);
    expect(world.last).toEqual({
      kind: "gave-up",
      why: "the reason.",
      deaths: 3,
      withinMs: 3000,
    });
    expect(world.due()).toBe(Number.POSITIVE_INFINITY);
  });

  test("is none while rounds are settled; the records of a start are no progress", () => {
    const world = new World({ crashLimit: 3 });
    for (let i = 0; i < 10; i++) {
      world.live(100, 1);
      world.pass(60_000);
    }
    expect(world.launches).toHaveLength(11);
    for (let i = 0; i < 2; i++) {
      world.live(100, 0);
      world.pass(60_000);
    }
    // The last one that settled a round died, too: it counts as the first.
    expect(world.exitCode).toBe(EXIT.unavailable);
    expect(world.last).toMatchObject({ kind: "gave-up", deaths: 3 });
  });

  test("is none when the deaths are far apart", () => {
    const world = new World({ crashLimit: 3, crashWindowMs: 100_000 });
    for (let i = 0; i < 20; i++) {
      world.live(60_000, 0);
      world.pass(1000);
    }
    expect(world.exitCode).toBeUndefined();
    expect(world.launches).toHaveLength(21);
  });
});

describe("how a job ended decides", () => {
  test.each([
    ["a clean stop", SEALED, EXIT.ok],
    ["a bad result", told(EXIT.failed), EXIT.failed],
    ["usage", told(EXIT.usage), EXIT.usage],
    ["configuration", told(EXIT.configuration), EXIT.configuration],
    ["a ledger in use", told(EXIT.busy), EXIT.busy],
  ] as const)("%s: no restart", (_name, end, exitCode) => {
    const world = new World();
    world.end(end);
    world.pass(1e9);
    expect(world.launches).toHaveLength(1);
    expect(world.exitCode).toBe(exitCode);
  });

  test.each([
    ["storage and majority lost", told(EXIT.unavailable)],
    ["a bug", told(EXIT.software)],
    ["files", told(EXIT.io)],
    ["signals", KILLED],
    ["killed before it served", endOf({})],
    ["a launcher that was killed", endOf({ launcher: { code: null, signal: "SIGKILL" } })],
    ["a launcher that refused", endOf({ launcher: { code: 1, signal: null } })],
  ] as const)("%s: a restart", (_name, end) => {
    const world = new World();
    world.end(end);
    world.pass(1000);
    expect(world.launches).toEqual([0, 1000]);
    expect(world.exitCode).toBeUndefined();
  });

  test("a ledger in use: by whom is told", () => {
    const world = new World();
    world.end(endOf({ words: Array(RANKS).fill(75), sentence: "in use by the 4 ranks on n1" }));
    expect(world.last).toMatchObject({ kind: "refused", why: "in use by the 4 ranks on n1" });
  });

  test("with wait it tries again, ever more seldom, and that is no crash loop", () => {
    const world = new World({ wait: true, crashLimit: 3 });
    const expected = [10, 20, 40, 60, 60].map((s) => 1000 * s);
    expect(pauses(world, told(EXIT.busy), 5)).toEqual(expected);
    world.end(told(EXIT.busy));
    world.stop();
    expect(world.exitCode).toBe(EXIT.busy);
  });
});

describe("a stop", () => {
  test("asks by USR1 every second until the ranks are at it, and ends with 0", () => {
    const world = new World();
    world.stop();
    world.pass(2500);
    world.step({ type: "status", state: "draining", settledRound: 0 });
    world.pass(20_000);
    const asked = [0, 1000, 2000].map((at) => [at, "SIGUSR1"]);
    expect(world.signals).toEqual(asked as [number, string][]);
    world.end(SEALED);
    expect(world.exitCode).toBe(EXIT.ok);
    expect(world.last).toMatchObject({ kind: "stopped", isClean: true });
  });

  test("that is not heeded in time becomes TERM, then KILL until all is gone", () => {
    const world = new World({ drainMs: 2500, endMs: 1000 });
    world.stop();
    world.step({ type: "status", state: "running", settledRound: 0 });
    world.pass(5600);
    expect(world.signals.filter(([, signal]) => signal !== "SIGUSR1")).toEqual([
      [2500, "SIGTERM"],
      [3500, "SIGKILL"],
      [4500, "SIGKILL"],
      [5500, "SIGKILL"],
    ]);
    expect(world.events.map(({ kind }) => kind)).toEqual(["stopping", "ending", "killing"]);
    world.end(KILLED);
    expect(world.exitCode).toBe(EXIT.unavailable);
    expect(world.last).toMatchObject({ kind: "stopped", isClean: false });
  });

  test("a second signal shortens, a third kills; two at once are one", () => {
    const world = new World();
    world.stop("SIGUSR1");
    world.pass(100);
    world.stop("SIGTERM");
    expect(world.signals).toEqual([[0, "SIGUSR1"]]);
    world.pass(500);
    world.stop();
    expect(world.signals.at(-1)).toEqual([600, "SIGTERM"]);
    world.pass(600);
    world.stop();
    expect(world.signals.at(-1)).toEqual([1200, "SIGKILL"]);
  });

  test("without time to drain ends the ranks at once", () => {
    const world = new World({ drainMs: 0 });
    world.stop();
    world.pass(0);
    expect(world.signals.map(([, signal]) => signal)).toEqual(["SIGUSR1", "SIGTERM"]);
  });

  test("that is overtaken by a death is no reason to start again", () => {
    for (const end of [KILLED, told(EXIT.software), told(EXIT.io)]) {
      const world = new World();
      world.step({ type: "status", state: "running", settledRound: 0 });
      world.stop();
      world.end(end);
      world.pass(1e9);
      expect(world.launches).toHaveLength(1);
      expect(world.exitCode).not.toBe(EXIT.ok);
      expect(world.last).toMatchObject({ kind: "stopped", isClean: false });
    }
  });

  test("before anything was taken leaves the ledger as it was", () => {
    const world = new World();
    world.stop();
    world.end(endOf({}));
    expect(world.exitCode).toBe(EXIT.ok);

    const second = new World();
    second.live(10, 0);
    second.pass(1000);
    second.stop();
    second.end(endOf({}));
    expect(second.exitCode).toBe(EXIT.unavailable);
  });

  test("between two jobs ends at once, as the last job did", () => {
    const world = new World();
    world.end(told(EXIT.io));
    world.pass(500);
    world.stop();
    expect(world.exitCode).toBe(EXIT.io);
    world.pass(1e9);
    expect(world.launches).toHaveLength(1);
  });
});

describe("whatever happens", () => {
  const ends = [SEALED, KILLED, ...[1, 2, 69, 70, 74, 75, 78].map(told)];
  const input = fc.oneof(
    fc.record({ pass: fc.integer({ min: 0, max: 200_000 }) }),
    fc.record({ end: fc.constantFrom(...ends) }),
    fc.record({ state: fc.constantFrom("starting", "running", "draining", "sealing", "stopped") }),
    fc.record({ missing: fc.nat(3) }),
    fc.constant({ stop: true }),
  );

  test("one job at a time, none after a stop, an end after a stop within the deadlines", () => {
    fc.assert(
      fc.property(fc.array(input, { maxLength: 40 }), fc.boolean(), (inputs, wait) => {
        const world = new World({ wait });
        let ended = 0;
        let stoppedAt: number | undefined;
        let launchesAtStop = 0;
        for (const each of inputs) {
          if (world.exitCode !== undefined) break;
          const isRunning = world.launches.length > ended;
          if ("pass" in each) world.pass(each.pass);
          else if ("state" in each) {
            if (isRunning) world.step({ type: "status", state: each.state, settledRound: 1 });
          } else if ("missing" in each) {
            world.step({ type: "missing", processes: each.missing });
          } else if ("end" in each) {
            if (isRunning) {
              ended++;
              world.end(each.end);
            }
          } else {
            world.stop();
            stoppedAt ??= world.now;
            launchesAtStop = world.launches.length;
          }
          expect(world.launches.length - ended).toBeWithin(0, 2);
        }
        if (stoppedAt === undefined || world.exitCode !== undefined) return;
        world.pass(DEFAULT_POLICY.drainMs + DEFAULT_POLICY.endMs + 1);
        expect(world.signals.at(-1)![1]).toBe("SIGKILL");
        expect(world.launches).toHaveLength(launchesAtStop);
        world.end(KILLED);
        expect(world.exitCode).toBeDefined();
      }),
      { numRuns: 300 },
    );
  });
});
