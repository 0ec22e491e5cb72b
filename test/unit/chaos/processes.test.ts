/** Finding the processes of one job among all others, and signalling no other one. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJobView, readJobView } from "../../../src/chaos/job-view.ts";
import {
  findMarked,
  killMarked,
  MARK_VARIABLE,
  MarkCache,
  readStat,
  signal,
} from "../../../src/chaos/processes.ts";

const root = mkdtempSync(join(tmpdir(), "baash-marked-"));
const children: { kill(signal: "SIGKILL"): void; exited: Promise<number> }[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

mkdirSync(join(root, "src"));
const RANK = join(root, "src/rank.ts");
writeFileSync(RANK, 'console.log("up"); setInterval(() => {}, 1000);');
const OTHER = join(root, "src/other.ts");
writeFileSync(OTHER, 'console.log("up"); setInterval(() => {}, 1000);');

/** Started, and running its own program. */
async function start(program: string, mark: string, worldRank?: number) {
  const env = {
    ...process.env,
    [MARK_VARIABLE]: mark,
    ...(worldRank !== undefined && { OMPI_COMM_WORLD_RANK: String(worldRank) }),
  };
  const child = Bun.spawn([process.execPath, program], { env, stdout: "pipe" });
  children.push(child);
  await child.stdout.getReader().read();
  return child.pid;
}

const unique = () => `test-${process.pid}-${Math.random().toString(36).slice(2)}`;

describe("marked processes", () => {
  test("ranks of one job, by the launcher's numbers; what is beside them is no rank", async () => {
    const [mark, foreign] = [unique(), unique()];
    const second = await start(RANK, mark, 1);
    const other = await start(OTHER, mark);
    await start(RANK, foreign, 0);
    const found = findMarked(mark);
    expect(found.map(({ pid }) => pid).sort()).toEqual([second, other].sort());
    expect(found.find(({ pid }) => pid === second)).toMatchObject({ isRank: true, worldRank: 1 });
    expect(found.find(({ pid }) => pid === other)).toMatchObject({ isRank: false });
    const cache = new MarkCache();
    expect(findMarked(mark, cache)).toEqual(findMarked(mark, cache));
    expect(findMarked(unique())).toEqual([]);
  });

  test("a signal reaches that process and none that has its number later", async () => {
    const mark = unique();
    await start(RANK, mark, 0);
    const [target] = findMarked(mark);
    expect(signal({ ...target, startTicks: target.startTicks - 1 }, "SIGKILL")).toBe(false);
    expect(signal(target, "SIGSTOP")).toBe(true);
    while (readStat(target.pid)?.state !== "T") await Bun.sleep(1);
    expect(findMarked(mark)[0].state).toBe("T");
    expect(signal(target, "SIGKILL")).toBe(true);
    await children[0].exited;
    expect(findMarked(mark)).toEqual([]);
    expect(signal(target, "SIGKILL")).toBe(false);
  });

  test("all of a job end, also stopped ones; another job lives", async () => {
    const [mark, foreign] = [unique(), unique()];
    await start(RANK, mark, 0);
    await start(OTHER, mark);
    signal(findMarked(mark)[0], "SIGSTOP");
    const survivor = await start(RANK, foreign, 0);
    await killMarked(mark);
    expect(findMarked(mark)).toEqual([]);
    expect(findMarked(foreign).map(({ pid }) => pid)).toEqual([survivor]);
  });
});

describe("status.json", () => {
  const status = {
    ...{ at: 1, pid: 7, process: 0, rank: 0, ranks: 1, state: "running", chainId: "ab" },
    epoch: { hash: "cd", slot: 3, number: 2 },
    members: [{ rank: 0, process: 4, pid: 7, host: "h", incarnation: "ef", suspected: false }],
    ...{ slot: 9, head: "12", counters: {}, storage: { available: true } },
    events: [{ at: 1, kind: "evict", text: "…", rank: 1, checkpoint: "C1" }],
  };

  test("what is needed of it is read; the rest may be as it likes", () => {
    const view = parseJobView(JSON.stringify({ ...status, news: true }));
    expect(view).toMatchObject({ slot: 9, head: "12", epoch: { number: 2 } });
    expect(view?.members).toEqual([{ rank: 0, process: 4, pid: 7, incarnation: "ef" }]);
    expect(parseJobView(JSON.stringify({ ...status, events: 5, storage: 1 }))).toBeDefined();
  });

  test("what is none is none", () => {
    for (const text of ["", "{", "[]", JSON.stringify({ ...status, slot: -1 })]) {
      expect(parseJobView(text)).toBeUndefined();
    }
    expect(readJobView(join(root, "missing.json"))).toBeUndefined();
  });

  test("the files of these tests go", () => rmSync(root, { recursive: true }));
});
