/**
 * The MPI transport with real processes. Each test is a job of ./programs, whose ranks check contents
 * and order themselves and abort the job when something is wrong; here is what they report. That jobs
 * end by themselves, without process.exit, is part of every test.
 */
import { describe, expect, test } from "bun:test";
import { type Job, type JobResult, openMpi, runJob } from "./job.ts";

const TIMEOUT_MS = 40_000;
/** Programs heal many times: on a machine that is busy elsewhere each takes some seconds. */
const HEALING = { survives: true, timeoutMs: 150_000 };
const HEALING_TIMEOUT_MS = 160_000;

/** All-gathers of MPI's own, and those of log2 N messages (native/mpi-gather.h). */
const GATHERS = [
  ["MPI_Iallgather", { DOUBLING_FROM: "1000" }],
  ["by doubling", { DOUBLING_FROM: "1" }],
] as const;

async function runClean(job: Job): Promise<JobResult> {
  const result = await runJob(job);
  if (result.exitCode !== 0) throw new Error(`${job.program} ended badly:\n${result.stderr}`);
  return result;
}

describe.each([0, 1, 2, 4, 16])("%d ranks (0: without mpirun)", (ranks) => {
  const size = Math.max(1, ranks);

  test(
    "a storm of messages arrives whole and in order, through a small arena",
    async () => {
      const env = { MESSAGES: "200" };
      const { results } = await runClean({ ranks, program: "storm", env });
      expect(results.length).toBe(size);
      for (const result of results) {
        expect(result).toMatchObject({ arenaBytesUsed: 0, sendsPending: 0, finalized: true });
      }
    },
    TIMEOUT_MS,
  );

  test.each(GATHERS)(
    "allgathers on three lanes at once keep content and order, allreduces are right (%s)",
    async (_, gather) => {
      const env = { CALLS: "20", ALONE: "20", ...gather };
      const { results } = await runClean({ ranks, program: "allgather", env });
      expect(results.length).toBe(size);
      for (const result of results) {
        expect(result).toMatchObject({ completed: [20, 20, 20], finalized: true });
      }
    },
    TIMEOUT_MS,
  );
});

test(
  "idle ranks of a host sleep until they are rung",
  async () => {
    const { results } = await runClean({ ranks: 4, program: "idle", env: { IDLE_MS: "1000" } });
    // Every 10 ms; who cannot be rung looks every 1.5 ms at the latest.
    expect(results[0].wakes).toBeGreaterThan(20);
    expect(results[0].wakes).toBeLessThan(300);
  },
  TIMEOUT_MS,
);

test.each([1, 4])(
  "messages of 8 MiB go around a ring of %d",
  async (ranks) => {
    const { results } = await runClean({ ranks, program: "large" });
    expect(results).toEqual(
      Array.from({ length: ranks }, (_, rank) => ({ rank, received: 8, finalized: true })),
    );
  },
  TIMEOUT_MS,
);

test(
  "what is too long is refused before anything is allocated, the rest arrives",
  async () => {
    const { results } = await runClean({ ranks: 4, program: "oversize" });
    const wanted = [
      { rank: 1, received: [10, 20, 30, 40], oversizeRejected: 3 },
      { rank: 3, received: [10, 102_400, 20, 30, 40], oversizeRejected: 2 },
    ];
    for (const { rank, received, oversizeRejected } of wanted) {
      const rejected = new Array(oversizeRejected).fill("MESSAGE_TOO_LARGE");
      const clean = { arenaBytesUsed: 0, finalized: true };
      expect(results[rank]).toEqual({ rank, received, rejected, oversizeRejected, ...clean });
    }
  },
  TIMEOUT_MS,
);

test.each(GATHERS)(
  "a collective that a rank never joins ends at its deadline; so does a regroup, and hinders no other (%s)",
  async (_, env) => {
    const { results } = await runJob({ ranks: 4, program: "deadline", survives: true, env });
    const gathered = [1, 1, 1];
    const codes = ["COLLECTIVE_DEADLINE lane 1", "LANE_POISONED", "REGROUP_DEADLINE"];
    expect(results).toEqual([
      { rank: 0, codes, gathered, finalized: false },
      { rank: 1, codes, gathered, finalized: false },
      { rank: 2, codes, gathered, finalized: false },
      { rank: 3, codes: [], gathered, finalized: false },
    ]);
  },
  TIMEOUT_MS,
);

test(
  "a group works on in its own order while a rank stays outside",
  async () => {
    const { results } = await runJob({ ranks: 4, program: "group", survives: true });
    expect(results.map((result) => [result.rank, result.orders, result.reports])).toEqual([
      [0, 0, 3],
      [1, 3, 0],
      [2, 3, 0],
      [3, 3, 0],
    ]);
  },
  TIMEOUT_MS,
);

test.each(GATHERS)(
  "survivors of a SIGKILL in the middle of an allgather regroup and work on (%s)",
  async (_, env) => {
    const { results } = await runJob({ ranks: 4, program: "survivors", survives: true, env });
    expect(results).toEqual([0, 1, 2].map((rank) => ({ rank, parts: 3, finalized: false })));
  },
  TIMEOUT_MS,
);

test(
  "who cannot open because another one died at its start is told so",
  async () => {
    const { results } = await runJob({ ranks: 3, program: "unborn", survives: true });
    expect(results).toEqual([0, 2].map((rank) => ({ rank, code: "OPEN_DEADLINE" })));
  },
  TIMEOUT_MS,
);

test(
  "who ends without a word ends alone; what is sent to the dead is bounded, and dropped when forgotten",
  async () => {
    const { results } = await runJob({ ranks: 5, program: "ends", survives: true });
    const codes = [0, 1, 2].map((peer) => `SEND_QUEUE_FULL ${peer}`);
    const sends = { codes, dropped: { before: true, after: 3 }, sendsPending: 0 };
    const close = { abandonedFew: true, finalized: false, closedInTime: true };
    expect(results).toEqual([3, 4].map((rank) => ({ rank, ...sends, ...close })));
  },
  TIMEOUT_MS,
);

// With MPICH nobody survives: there is nothing to heal.
describe.if(openMpi)("healing", () => {
  const jobs: { ranks: number; kills: number; rounds: number; members: number[] }[] = [
    { ranks: 4, kills: 1, rounds: 10, members: [9, 10, 11, 13] },
    { ranks: 4, kills: 3, rounds: 2, members: [1, 7, 8, 9] },
  ];
  test.each(jobs)(
    "$kills of $ranks are killed under traffic and replaced, $rounds times",
    async ({ ranks, kills, rounds, members }) => {
      const env = { ROUNDS: String(rounds), KILLS: String(kills), MESSAGES: "20" };
      const { results } = await runJob({ ...HEALING, ranks, program: "heal", env });
      expect(results.map(({ rank }) => rank)).toEqual(members);
      for (const result of results) {
        expect(result).toMatchObject({ helpersLeft: 0, finalized: false });
        expect((result.members as number[]).toSorted((a, b) => a - b)).toEqual(members);
      }
    },
    HEALING_TIMEOUT_MS,
  );

  test(
    "who stood still comes back, also among those whom it never met",
    async () => {
      const { results } = await runJob({ ...HEALING, ranks: 5, program: "returned" });
      const all = [0, 1, 2, 3, 4, 5, 6];
      const seen = { members: [0, 1, 2, 4, 6, 5, 3], processes: all, finalized: false };
      expect(results).toEqual(all.map((rank) => ({ rank, ...seen })));
    },
    HEALING_TIMEOUT_MS,
  );

  test(
    "a spawn that comes to nothing is told, and hinders none after it; an abort ends everybody",
    async () => {
      const { results } = await runJob({ ...HEALING, ranks: 3, program: "unspawned" });
      const spawns = ["SPAWN_FAILED", "SPAWN_FAILED", "SPAWN_DEADLINE", "REGROUP_IMPOSSIBLE"];
      const regroups = ["REGROUP_IMPOSSIBLE", "REGROUP_IMPOSSIBLE", "regrouped"];
      const codes = [...spawns, "spawned 3", ...regroups];
      expect(results).toEqual([0, 1].map((rank) => ({ rank, codes })));
    },
    HEALING_TIMEOUT_MS,
  );
});
