/**
 * The process watch on real processes of this machine, and whom it looks at on made-up ones. Waits
 * are for what is told; a process about which nothing must be told is followed by one about which
 * something is.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { lookInProc, openProcWatch, ownProcess } from "../../../src/monitor/proc-watch.ts";
import {
  PollingWatch,
  type ProcessWatch,
  type Sighting,
  type WatchedProcess,
} from "../../../src/monitor/process-watch.ts";
import { neighbours, successorsOnHost } from "../../../src/monitor/ring.ts";

const started: { kill(signal: number): void }[] = [];
const watches: ProcessWatch[] = [];
afterEach(() => {
  for (const watch of watches.splice(0)) watch.close();
  for (const child of started.splice(0)) child.kill(9);
});

/** The start time as proc(5) has it, found without the code under test. */
function startTicksOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(text.slice(text.lastIndexOf(") ") + 2).split(" ")[19]);
}

function start(...command: string[]) {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "ignore", stdin: "ignore" });
  started.push(child);
  return child;
}

const sleeper = () => start("sleep", "600");
const known = (rank: number, pid: number) => ({ rank, pid, startTicks: startTicksOf(pid) });

/** A real watch, and ways to wait for what it tells and for its having looked at somebody. */
function watch(list: readonly WatchedProcess[]) {
  const told: number[] = [];
  const looked = new Set<number>();
  let wake = () => {};
  const watch = openProcWatch((process) => {
    looked.add(process.rank);
    wake();
    return lookInProc(process);
  });
  watches.push(watch);
  watch.onGone = (rank) => {
    told.push(rank);
    wake();
  };
  watch.watch(list);
  const until = async (isSo: () => boolean) => {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    told,
    whenLooked: () => until(() => list.every(({ rank }) => looked.has(rank))),
    whenTold: async (count: number) => {
      await until(() => told.length >= count);
      return told;
    },
  };
}

async function stateBecomes(pid: number, state: string): Promise<void> {
  for (;;) {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    if (text.slice(text.lastIndexOf(") ") + 2).startsWith(state)) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("real processes", () => {
  test("this process is told from every other", () => {
    const own = ownProcess();
    expect(own).toEqual({ pid: process.pid, startTicks: startTicksOf(process.pid) });
    expect(own.startTicks).toBeGreaterThan(0);
    expect(lookInProc({ rank: 0, ...own })).toBe("alive");
  });

  test("one that is killed is gone, and the other is not", async () => {
    const [one, other] = [sleeper(), sleeper()];
    const { whenLooked, whenTold } = watch([known(4, one.pid), known(5, other.pid)]);
    await whenLooked();
    other.kill(9);
    expect(await whenTold(1)).toEqual([5]);
  });

  test("a zombie is gone before anybody reaps it", async () => {
    // The shell becomes a sleeper that never waits for its child.
    const parent = start("sh", "-c", "sleep 600 & echo $!; exec sleep 600");
    const { value } = await parent.stdout.getReader().read();
    const pid = Number(new TextDecoder().decode(value));
    const child = known(1, pid);
    const { whenLooked, whenTold } = watch([child]);
    await whenLooked();
    process.kill(pid, "SIGKILL");
    expect(await whenTold(1)).toEqual([1]);
    await stateBecomes(pid, "Z"); // it is there still, with its old start time
    expect(startTicksOf(pid)).toBe(child.startTicks);
    expect(lookInProc(child)).toBe("gone");
  });

  test("another process of the same pid is not it", () => {
    const child = sleeper();
    const now = known(1, child.pid);
    expect(lookInProc(now)).toBe("alive");
    expect(lookInProc({ ...now, startTicks: now.startTicks - 1 })).toBe("gone");
  });

  test("a stopped process is not gone, until it is killed", async () => {
    const [stopped, killed] = [sleeper(), sleeper()];
    const list = [known(1, stopped.pid), known(2, killed.pid)];
    const { whenLooked, whenTold, told } = watch(list);
    await whenLooked();
    stopped.kill(19); // SIGSTOP
    await stateBecomes(stopped.pid, "T");
    expect(lookInProc(list[0])).toBe("alive");
    killed.kill(9);
    await whenTold(1);
    expect(told).toEqual([2]); // both were looked at
    stopped.kill(9);
    expect(await whenTold(2)).toEqual([2, 1]);
  });

  test("a name with blanks and parentheses hides nothing", async () => {
    const child = start("bash", "-c", "printf 'a) Z 1 (' >/proc/$$/comm; echo; read -t 600 <&1");
    await child.stdout.getReader().read();
    expect(readFileSync(`/proc/${child.pid}/comm`, "utf8").trim()).toBe("a) Z 1 (");
    expect(lookInProc(known(0, child.pid))).toBe("alive");
  });

  test("a process that never was says nothing but that it is not there", () => {
    expect(lookInProc({ rank: 0, pid: 0x3fff_ffff, startTicks: 1 })).toBe("gone");
  });
});

describe("whom it looks at", () => {
  /** A watch that looks when told to, at processes whose state is given. */
  function manual(ranks: number) {
    const state = new Array<Sighting>(ranks).fill("alive");
    let looked: number[] = [];
    let due: (() => void) | undefined;
    const delays: number[] = [];
    const watch = new PollingWatch({
      look: ({ rank }) => {
        looked.push(rank);
        return state[rank];
      },
      after: (delayMs, callback) => {
        delays.push(delayMs);
        due = callback;
        return () => {
          if (due === callback) due = undefined;
        };
      },
    });
    const told: number[] = [];
    watch.onGone = (rank) => told.push(rank);
    const look = () => {
      looked = [];
      const run = due;
      due = undefined;
      run?.();
      return looked;
    };
    return { watch, state, told, look, delays, isDue: () => due !== undefined };
  }
  const list = (...ranks: number[]) => ranks.map((rank) => ({ rank, pid: rank, startTicks: 1 }));

  test("at all of them once, then at the next three, each tenth of a second", () => {
    const { watch, look, delays } = manual(6);
    watch.watch(list(0, 1, 2, 3, 4, 5));
    expect(look()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(look()).toEqual([0, 1, 2]);
    expect(look()).toEqual([0, 1, 2]);
    expect(delays).toEqual([0, 100, 100, 100]);
  });

  test("past the dead: a row of them is found in one look, each told once", () => {
    const { watch, state, told, look } = manual(8);
    watch.watch(list(0, 1, 2, 3, 4, 5, 6, 7));
    look();
    for (const rank of [0, 1, 2, 3, 5]) state[rank] = "gone";
    expect(look()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(told).toEqual([0, 1, 2, 3, 5]);
    expect(look()).toEqual([4, 6, 7]);
    expect(told.length).toBe(5);
  });

  test("who cannot be seen is not called gone", () => {
    const { watch, state, told, look } = manual(5);
    state[1] = "gone"; // in a container of its own, perhaps
    state[2] = "unknown";
    watch.watch([...list(0, 1, 2, 3), { rank: 4, pid: 4, startTicks: 0 }]);
    expect(look()).toEqual([0, 1, 2, 3]);
    expect(look()).toEqual([0, 2, 3]);
    expect(told).toEqual([]);
  });

  test("a new list with other numbers keeps who was seen, and looks anew", () => {
    const { watch, state, told, look } = manual(9);
    const process = { rank: 7, pid: 7, startTicks: 5 };
    watch.watch([process]);
    look();
    state[2] = "gone";
    watch.watch([{ ...process, rank: 2 }]);
    look();
    expect(told).toEqual([2]);
    watch.watch([{ ...process, rank: 2 }]);
    look();
    expect(told).toEqual([2, 2]);
  });

  test("a list that is given while it tells replaces the rest", () => {
    const { watch, state, told, look } = manual(4);
    watch.watch(list(0, 1, 2));
    look();
    state[0] = state[1] = "gone";
    watch.onGone = (rank) => {
      told.push(rank);
      if (rank === 0) watch.watch([{ rank: 3, pid: 1, startTicks: 1 }]);
    };
    look();
    expect(told).toEqual([0]);
    state[3] = "gone";
    look();
    expect(told).toEqual([0, 3]);
  });

  test("closed, or with nobody left, it does not look", () => {
    const { watch, state, look, isDue } = manual(2);
    watch.watch([]);
    expect(isDue()).toBe(false);
    watch.watch(list(0, 1));
    look();
    state.fill("gone");
    look();
    expect(isDue()).toBe(false);
    watch.watch(list(0));
    watch.close();
    expect(isDue()).toBe(false);
  });
});

describe("the ring", () => {
  test("neighbours pass over who is out, in both directions, and end", () => {
    const ring = { self: 1, ranks: 6, count: 3 };
    expect(neighbours(ring, 1, () => false)).toEqual([2, 3, 4]);
    expect(neighbours(ring, -1, () => false)).toEqual([0, 5, 4]);
    expect(neighbours(ring, 1, (rank) => rank === 3)).toEqual([2, 4, 5]);
    expect(neighbours(ring, 1, (rank) => rank > 2)).toEqual([2, 0]);
    expect(neighbours({ ...ring, self: 0, ranks: 1 }, 1, () => false)).toEqual([]);
  });

  test("the others of a host, nearest first", () => {
    const hosts = ["a", "b", "a", "a", "b", "a"];
    expect(successorsOnHost(2, hosts)).toEqual([3, 5, 0]);
    expect(successorsOnHost(1, hosts)).toEqual([4]);
    expect(successorsOnHost(0, ["a", "b"])).toEqual([]);
  });
});
