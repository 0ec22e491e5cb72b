/** What a phase cost: time of threads, work of the ledger, and their sums over ranks. */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  MergedUsage,
  processorTime,
  type Usage,
  usageBetween,
} from "../../../src/workload/usage.ts";

const BEFORE: Usage = {
  cpuUs: { main: 1000, mpi: 500, blocks: 70 },
  stagesUs: { votes: 10 },
  ...{ records: 3, rounds: 5, blocks: 20, transactions: 80 },
  ...{ messages: 15, bytes: 9000, collectives: 5, memory: 500 },
};
const AFTER: Usage = {
  // A thread that ended, and one that is new.
  cpuUs: { main: 4000, mpi: 900, writer: 250 },
  stagesUs: { votes: 110, proposals: 40 },
  ...{ records: 8, rounds: 15, blocks: 60, transactions: 240 },
  ...{ messages: 45, bytes: 29_000, collectives: 15, memory: 700 },
};

test("threads of a process by name, those of one name together", () => {
  const directory = mkdtempSync(join(tmpdir(), "baash-usage-"));
  try {
    const threads = [
      [process.pid, "bun", 5_000_000],
      [8, "baash-mpi", 2_000_000],
      [9, "block-worker", 1_000_000],
      [10, "block-worker", 3_000_000],
      [11, "JITWorker", 4_000_000],
      [12, "mi-scavenger", 500_000],
    ] as const;
    for (const [thread, name, nanoseconds] of threads) {
      mkdirSync(join(directory, String(thread)));
      writeFileSync(join(directory, String(thread), "comm"), `${name}\n`);
      writeFileSync(join(directory, String(thread), "schedstat"), `${nanoseconds} 17 3\n`);
    }
    // One that ends while it is looked at.
    mkdirSync(join(directory, "13"));
    const expected = { main: 5000, mpi: 2000, blocks: 4000, engine: 4500 };
    expect(processorTime(directory)).toEqual(expected);
    expect(processorTime(join(directory, "none"))).toEqual({});
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("this process has spent something", () => {
  if (process.platform === "linux") expect(processorTime().main).toBeGreaterThan(1000);
  else expect(processorTime()).toEqual({});
});

test("what lies between two samples, and the sum over ranks", () => {
  const usage = usageBetween(BEFORE, AFTER);
  expect(usage).toEqual({
    cpuUs: { main: 3000, mpi: 400, writer: 250 },
    stagesUs: { votes: 100, proposals: 40 },
    ...{ records: 5, rounds: 10, blocks: 40, transactions: 160 },
    ...{ messages: 30, bytes: 20_000, collectives: 10, memory: 700 },
  });
  const merged = new MergedUsage();
  merged.add(usage);
  merged.add({ ...usage, rounds: 11, stagesUs: {} });
  // Each rank sees the same rounds, and spends its own time.
  expect(merged).toMatchObject({ ranks: 2, rounds: 11, blocks: 40, messages: 60, bytes: 40_000 });
  expect(merged.cpuUs).toEqual({ main: 6000, mpi: 800, writer: 500 });
  expect(merged.stagesUs).toEqual({ votes: 100, proposals: 40 });
  expect(merged.cpuTotalUs).toBe(7300);
});
