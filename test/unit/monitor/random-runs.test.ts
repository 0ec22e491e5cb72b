/**
 * N monitors under random faults. A failure prints the seed, with which the same run is made again.
 * MONITOR_RUNS asks for more runs than the gate makes.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { MonitorCluster } from "../../support/monitor-cluster.ts";
import {
  evictMs,
  heartbeatMs,
  quiet,
  storm,
  sudden,
  suspectMs,
  turnDelayMs,
} from "../../support/monitor-storm.ts";

const numRuns = Number(process.env.MONITOR_RUNS ?? 60);

function forSeeds(check: (seed: number) => void): void {
  const seeds = fc.noShrink(fc.integer({ min: 0, max: 0x7fff_ffff }));
  fc.assert(fc.property(seeds, check), { numRuns, includeErrorInReport: true });
}

/** Members that suspected `rank` at some time within `windowMs` before `at`. */
function suspecting(cluster: MonitorCluster, rank: number, at: number, windowMs: number): number {
  const by = new Set<number>();
  const last = new Map<number, boolean>();
  for (const suspicion of cluster.suspicions.filter((each) => each.at <= at)) {
    const does = suspicion.ranks.includes(rank);
    if (suspicion.at > at - windowMs && (does || last.get(suspicion.by))) by.add(suspicion.by);
    last.set(suspicion.by, does);
  }
  for (const [member, does] of last) if (does) by.add(member);
  return by.size;
}

test("once the faults stop, suspicions meet in the dead and these alone are to be evicted", () => {
  forSeeds((seed) => {
    const { cluster, dead, calmAt } = storm(seed);
    // The last death is noticed, checked by all, and waited for; then comes the turn of each.
    const bound = 3 * suspectMs + evictMs + cluster.members.length * turnDelayMs;
    cluster.run(calmAt + bound);
    expect(cluster.agreedSuspects()).toEqual(dead);
    for (const rank of cluster.living) {
      const own = cluster.evictions.filter(({ by }) => by === rank);
      const last = own.at(-1)?.ranks ?? [];
      expect(last.filter((each) => dead.includes(each))).toEqual([...dead]);
      expect(cluster.members[rank].monitor.suspects).toEqual(cluster.members[rank].suspects);
    }
    const settled = cluster.evictions.filter(({ at }) => at > calmAt + 2 * suspectMs);
    for (const { ranks } of settled) expect(ranks.every((rank) => dead.includes(rank))).toBe(true);
  });
}, 60_000);

test("in any storm nobody is proposed for eviction without agreement, itself or when it is heard", () => {
  forSeeds((seed) => {
    const { cluster, calmAt } = storm(seed);
    cluster.run(calmAt + evictMs);
    const answersMin = Math.ceil(cluster.members.length / 2);
    for (const eviction of cluster.evictions) {
      const { by, at, ranks, suspects } = eviction;
      expect(suspects).not.toContain(by);
      expect(ranks.every((rank) => suspects.includes(rank))).toBe(true);
      for (const rank of ranks) {
        const isAlone = cluster.members.length - suspects.length < answersMin;
        const isCertain = cluster.members[rank].isDead;
        // What others said counts for a while, as do their words that are still under way.
        const accusers = suspecting(cluster, rank, at, 2 * evictMs + 2 * suspectMs);
        expect(isAlone || isCertain || accusers >= answersMin).toBe(true);
      }
    }
  });
}, 60_000);

test("while nobody dies and messages take less than suspectMs nobody is to be evicted", () => {
  forSeeds((seed) => {
    const cluster = quiet(seed);
    cluster.run(30_000);
    expect(cluster.evictions).toEqual([]);
  });
}, 60_000);

test("sudden deaths on a host: one proposal, by the lowest that lives, then by turns", () => {
  forSeeds((seed) => {
    const { cluster, dead, calmAt } = sudden(seed);
    cluster.run(calmAt + 600 + cluster.members.length * turnDelayMs);
    expect(cluster.agreedSuspects()).toEqual(dead);
    // Deaths that are seen in two looks are one proposal all the same.
    for (const { ranks } of cluster.evictions) expect(ranks).toEqual(dead);
    const { evictions } = cluster;
    const first = evictions.filter(({ by }, at) => evictions.findIndex((e) => e.by === by) === at);
    expect(first.map(({ by }) => by)).toEqual(cluster.living);
    for (const [turn, { at }] of first.entries()) {
      const due = calmAt + turn * turnDelayMs;
      expect(at).toBeGreaterThan(due);
      expect(at).toBeLessThan(due + 100 + 3 * heartbeatMs);
    }
  });
}, 60_000);
