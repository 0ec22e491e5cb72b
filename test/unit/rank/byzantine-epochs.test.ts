/** A byzantine ledger under the faults that a majority ledger survives, without any liar. */
import { expect, test } from "bun:test";
import { type LiarsOptions, LiarsWorld } from "../../support/liars-world.ts";

const TIMEOUT_MS = 60_000;
/** Who is silent is out before the load ends. */
const settings = {
  monitoring: { heartbeatMs: 15, suspectMs: 80, evictMs: 160, turnDelayMs: 20, scale: 1 },
};

async function worldOf(options: Partial<LiarsOptions>): Promise<LiarsWorld> {
  const world = await new LiarsWorld({ liars: [], loadMs: 500, ...options }).run();
  expect(world.violation?.message).toBeUndefined();
  expect(world.world.users.counts.finals).toBeGreaterThan(20);
  // S14: none of them lied.
  expect(world.files("evidence")).toEqual([]);
  for (const { loop } of world.job.ranks) expect(loop!.counters.convicted).toBe(0);
  return world;
}

const sizes = (world: LiarsWorld) => world.oracle.epochs.all.map(({ members }) => members.length);

test.each([1, 2, 3, 4, 5])(
  "%d ranks agree, record and close by signed answers",
  async (ranks) => {
    const world = await worldOf({ ranks, loadMs: 300 });
    expect(sizes(world)).toEqual([ranks, 0]);
    expect(world.oracle.records.every(({ counts }) => counts)).toBe(true);
  },
  TIMEOUT_MS,
);

test.each([0, 1])(
  "member %d dies and is sealed out by the others' signed answers",
  async (rank) => {
    const world = await worldOf({
      settings,
      meanwhile: ({ clock, job }) => clock.after(120, () => job.crash(rank, false)),
    });
    expect(sizes(world)).toEqual([4, 3, 0]);
  },
  TIMEOUT_MS,
);

test(
  "two of seven die",
  async () => {
    const world = await worldOf({
      ranks: 7,
      settings,
      meanwhile: ({ clock, job }) => {
        clock.after(80, () => job.crash(1, false));
        clock.after(150, () => job.crash(5, false));
      },
    });
    expect(sizes(world).at(-2)).toBe(5);
  },
  TIMEOUT_MS,
);

test(
  "a member that slept comes back as somebody new",
  async () => {
    const world = await worldOf({
      loadMs: 3000,
      seed: 3,
      meanwhile: ({ clock, job }) => clock.after(120, () => job.ranks[1].freeze(2000)),
    });
    expect(sizes(world)).toEqual([4, 3, 4, 0]);
  },
  TIMEOUT_MS,
);

test(
  "all die: the next job takes over under the ledger key's signature",
  async () => {
    const world = await worldOf({
      loadMs: 1200,
      meanwhile: (running) => running.clock.after(120, () => running.restart()),
    });
    expect(world.oracle.records.map(({ kind }) => kind)).toContain("INTENT");
    expect(sizes(world)).toEqual([4, 4, 0]);
  },
  TIMEOUT_MS,
);
