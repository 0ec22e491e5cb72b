/** Members that die: who finds it, how fast, and who proposes to go on without them. */
import { describe, expect, test } from "bun:test";
import { MonitorCluster } from "../../support/monitor-cluster.ts";

/** Whom each of `ranks` proposed to evict first, and when. */
function firstEvictions(cluster: MonitorCluster): Map<number, { at: number; ranks: number[] }> {
  const first = new Map<number, { at: number; ranks: number[] }>();
  for (const { at, by, ranks } of cluster.evictions)
    if (!first.has(by)) first.set(by, { at, ranks: [...ranks] });
  return first;
}

describe("nothing happens", () => {
  test("among the living nobody is suspected, and traffic grows with N", () => {
    const cluster = new MonitorCluster({ ranks: 20 });
    cluster.run(10_000);
    expect(cluster.suspicions).toEqual([]);
    expect(cluster.events).toEqual([]);
    expect(cluster.sent).toEqual({ heartbeat: 20 * 3 * 101, probe: 0, accuse: 0, absolve: 0 });
  });

  test("a rank that is alone sends nothing and waits for nothing", () => {
    const cluster = new MonitorCluster({ ranks: 1 });
    cluster.input(0, { type: "lane-lost" });
    cluster.run(10_000);
    expect(cluster.members[0].monitor.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(cluster.sent).toEqual({ heartbeat: 0, probe: 0, accuse: 0, absolve: 0 });
    expect(cluster.evictions).toEqual([]);
  });
});

describe("a death", () => {
  test("by silence: suspected by all, proposed for eviction by turns", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.run(5000);
    cluster.kill(0);
    cluster.run(7000);
    expect(cluster.agreedSuspects()).toEqual([0]);
    expect(cluster.evictions).toEqual([]);
    cluster.run(11_000);
    const first = firstEvictions(cluster);
    expect([...first.keys()]).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([...first.values()].every(({ ranks }) => ranks.join() === "0")).toBe(true);
    // Its observers heard it at 4.9 or 5 s; the others look closer when those say so.
    const due = (rank: number) => (rank <= 3 ? 8000 : 8500) + 100 + (rank - 1) * 200;
    for (const [rank, { at }] of first) {
      expect(at).toBeGreaterThanOrEqual(due(rank) - 100);
      expect(at).toBeLessThanOrEqual(due(rank) + 200);
    }
  });

  test("seen by the process watch: proposed at once", () => {
    const hosts = new Array<string>(8).fill("host");
    const cluster = new MonitorCluster({ ranks: 8, hosts, processWatch: true });
    cluster.run(5000);
    cluster.kill(3);
    cluster.run(5350);
    expect(cluster.agreedSuspects()).toEqual([3]);
    expect(cluster.evictions.map(({ by, ranks }) => [by, ranks])).toEqual([[0, [3]]]);
    expect(cluster.sent.accuse).toBe(2 * 3 * 7); // the three before it, then the three after it
  });

  test("of four in a row: one proposal, well under a second", () => {
    const hosts = new Array<string>(20).fill("host");
    const cluster = new MonitorCluster({ ranks: 20, hosts, processWatch: true });
    cluster.run(5000);
    cluster.kill(7, 8, 9, 10);
    cluster.run(5350);
    expect(cluster.agreedSuspects()).toEqual([7, 8, 9, 10]);
    expect(cluster.evictions).toMatchObject([{ by: 0, ranks: [7, 8, 9, 10] }]);
    expect(cluster.evictions[0].at).toBeLessThanOrEqual(5250);
  });

  test("of the lowest four: the next one proposes", () => {
    const hosts = new Array<string>(20).fill("host");
    const cluster = new MonitorCluster({ ranks: 20, hosts, processWatch: true });
    cluster.run(5000);
    cluster.kill(0, 1, 2, 3);
    cluster.run(5350);
    expect(cluster.evictions.map(({ by, ranks }) => [by, ranks])).toEqual([[4, [0, 1, 2, 3]]]);
  });

  test("with all of its observers, unseen by any process watch", () => {
    const cluster = new MonitorCluster({ ranks: 16 });
    cluster.run(5000);
    cluster.kill(4, 5, 6, 7, 8, 9);
    cluster.run(7500);
    expect(cluster.agreedSuspects()).toEqual([4, 5, 6, 7, 8, 9]);
    cluster.run(9000);
    expect(cluster.evictions[0]).toMatchObject({ by: 0, ranks: [4, 5, 6, 7, 8, 9] });
  });

  test("of half the members in a row: nobody waits for the ring to close step by step", () => {
    const cluster = new MonitorCluster({ ranks: 24 });
    cluster.run(5000);
    cluster.kill(4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    cluster.run(7250);
    expect(cluster.agreedSuspects()?.length).toBe(12);
  });

  test.each([{ told: [0, 1, 2] }, { told: [3, 4, 5] }, { told: [4] }])(
    "of which only $told were told for certain becomes known to all",
    ({ told }) => {
      const cluster = new MonitorCluster({ ranks: 8 });
      cluster.run(5000);
      cluster.kill(6, 7);
      // The last word of rank 7 did not reach the others.
      for (const rank of told)
        cluster.input(rank, { type: "accused", by: 7, rank: 6, certain: true });
      cluster.run(12_000);
      for (const rank of cluster.living) {
        const own = cluster.evictions.filter(({ by }) => by === rank);
        expect(own.at(-1)?.ranks).toEqual([6, 7]);
      }
    },
  );

  test("of an accuser takes its accusations along", () => {
    const cluster = new MonitorCluster({ ranks: 9 });
    cluster.run(5000);
    cluster.network = ({ from, to }) => (from === 0 && to >= 1 && to <= 5 ? undefined : 1);
    cluster.run(7000);
    cluster.kill(5);
    for (const rank of cluster.living) cluster.input(rank, { type: "gone", rank: 5 });
    cluster.run(30_000);
    expect(cluster.members[1].suspects).toEqual([0, 5]);
    for (const { ranks } of cluster.evictions) expect(ranks).toEqual([5]);
  });

  test("of a host with half of the members: one proposal, not eight", () => {
    const hosts = Array.from({ length: 16 }, (_, rank) => (rank < 8 ? "a" : "b"));
    const cluster = new MonitorCluster({ ranks: 16, hosts, processWatch: true });
    cluster.run(5000);
    cluster.kill(8, 9, 10, 11, 12, 13, 14, 15);
    cluster.run(8400);
    const evicted = cluster.evictions.filter(({ by }) => by === 0).map(({ ranks }) => ranks);
    expect(evicted).toEqual([[8, 9, 10, 11, 12, 13, 14, 15]]);
    const said = cluster.events.find(({ event }) => event.kind === "evict")!.event.text;
    expect(said).toEndWith(": all of b");
  });

  test("of three of four: the last one proposes without agreement, and says that it is alone", () => {
    const cluster = new MonitorCluster({ ranks: 4 });
    cluster.run(5000);
    cluster.kill(0, 1, 2);
    cluster.run(8400);
    expect(cluster.evictions).toMatchObject([{ by: 3, ranks: [0, 1, 2] }]);
    expect(cluster.events.map(({ event }) => event.kind)).toContain("minority");
  });

  test("announced by its exit routine is certain, and told on by its heirs alone", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.run(5000);
    cluster.kill(2);
    for (const rank of [0, 1, 3])
      cluster.input(rank, { type: "bye", rank: 2, reason: "out of memory" });
    cluster.run(5400);
    expect(cluster.agreedSuspects()).toEqual([2]); // though the BYE reached three of seven
    expect(cluster.sent.accuse).toBe(3 * 7);
    expect(cluster.evictions[0]).toMatchObject({ by: 0, ranks: [2] });
    const { event } = cluster.events.find(({ by }) => by === 0)!;
    expect(event).toMatchObject({ kind: "bye", checkpoint: "C2", rank: 2 });
    expect(event.text).toBe("rank 2 on host-2 says that it ends (out of memory)");
  });

  test("is not undone by messages that were under way", () => {
    const cluster = new MonitorCluster({ ranks: 4 });
    cluster.run(2000);
    cluster.kill(1);
    cluster.input(0, { type: "gone", rank: 1 });
    cluster.input(0, { type: "heard", rank: 1 });
    cluster.run(2010);
    expect(cluster.members[0].monitor.suspects).toEqual([1]);
  });

  test("two ranks: the other one is proposed, there is nobody else to ask", () => {
    const cluster = new MonitorCluster({ ranks: 2 });
    cluster.run(5000);
    cluster.kill(0);
    cluster.run(8200);
    expect(cluster.evictions).toMatchObject([{ by: 1, ranks: [0] }]);
    expect(cluster.evictions[0].at).toBeGreaterThanOrEqual(7900);
  });

  test("proposals are repeated with back-off while the epoch goes on", () => {
    const cluster = new MonitorCluster({ ranks: 2 });
    cluster.kill(1);
    cluster.run(200_000);
    const times = cluster.evictions.map(({ at }) => at);
    const gaps = times.slice(1).map((at, index) => Math.round((at - times[index]) / 1000));
    expect(gaps.slice(0, 6)).toEqual([3, 6, 12, 24, 30, 30]);
  });

  test("that follows a proposal makes a new one at once", () => {
    const hosts = new Array<string>(8).fill("host");
    const cluster = new MonitorCluster({ ranks: 8, hosts, processWatch: true });
    cluster.run(5000);
    cluster.kill(3);
    cluster.run(5350);
    cluster.kill(4);
    cluster.run(5700);
    const byFirst = cluster.evictions.filter(({ by }) => by === 0).map(({ ranks }) => ranks);
    expect(byFirst).toEqual([[3], [3, 4]]);
  });
});
