/**
 * The MPI transport with real processes. Each test is a job of ./programs, whose ranks check contents
 * and order themselves and abort the job when something is wrong; here is what they report. That jobs
 * end by themselves, without process.exit, is part of every test.
 */
import { describe, expect, test } from "bun:test";
import { type Job, type JobResult, runJob } from "./job.ts";

const TIMEOUT_MS = 40_000;

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

  test(
    "allgathers on three lanes at once keep content and order, allreduces are right",
    async () => {
      const env = { CALLS: "20", ALONE: "20" };
      const { results } = await runClean({ ranks, program: "allgather", env });
      expect(results.length).toBe(size);
      for (const result of results) {
        expect(result).toMatchObject({ completed: [20, 20, 20], finalized: true });
      }
    },
    TIMEOUT_MS,
  );
});

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

test(
  "a collective that a rank never joins ends at its deadline, and a regroup heals the lane",
  async () => {
    const { results } = await runJob({ ranks: 4, program: "deadline", survives: true });
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

test(
  "survivors of a SIGKILL in the middle of an allgather regroup and work on",
  async () => {
    const { results } = await runJob({ ranks: 4, program: "survivors", survives: true });
    expect(results).toEqual([0, 1, 2].map((rank) => ({ rank, parts: 3, finalized: false })));
  },
  TIMEOUT_MS,
);
