/** Members of which nothing is certain: networks that fail in part, stopped processes, hints. */
import { describe, expect, test } from "bun:test";
import { MonitorCluster, type Network } from "../../support/monitor-cluster.ts";

/** Whom each of `ranks` proposed to evict first, and when. */
function firstEvictions(cluster: MonitorCluster): Map<number, { at: number; ranks: number[] }> {
  const first = new Map<number, { at: number; ranks: number[] }>();
  for (const { at, by, ranks } of cluster.evictions)
    if (!first.has(by)) first.set(by, { at, ranks: [...ranks] });
  return first;
}

const cut =
  (isCut: (from: number, to: number) => boolean): Network =>
  ({ from, to }) =>
    isCut(from, to) ? undefined : 1;

describe("a network that fails in part", () => {
  const half = (rank: number) => rank < 4;

  test("even split: each half can seal without the other", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.run(5000);
    cluster.network = cut((from, to) => half(from) !== half(to));
    cluster.run(8600);
    const first = firstEvictions(cluster);
    expect(first.get(0)!.ranks).toEqual([4, 5, 6, 7]);
    expect(first.get(4)!.ranks).toEqual([0, 1, 2, 3]);
    expect(cluster.events.some(({ event }) => event.kind === "minority")).toBe(false);
  });

  test("a minority knows that it is one; the majority goes on by agreement", () => {
    const cluster = new MonitorCluster({ ranks: 7 });
    const small = (rank: number) => rank >= 5;
    cluster.run(5000);
    cluster.network = cut((from, to) => small(from) !== small(to));
    cluster.run(8600);
    const alone = cluster.events.filter(({ event }) => event.kind === "minority");
    expect(alone.map(({ by }) => by).sort()).toEqual([5, 6]);
    const first = firstEvictions(cluster);
    expect(first.get(0)!.ranks).toEqual([5, 6]);
    expect(first.get(5)!.ranks).toEqual([0, 1, 2, 3, 4]);
  });

  test("a healed partition leaves no suspicion", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.run(5000);
    cluster.network = cut((from, to) => half(from) !== half(to));
    cluster.run(7500);
    expect(cluster.agreedSuspects([0, 1, 2, 3])).toEqual([4, 5, 6, 7]);
    cluster.network = () => 1;
    cluster.run(9000);
    expect(cluster.agreedSuspects()).toEqual([]);
    cluster.run(20_000);
    expect(cluster.evictions).toEqual([]);
  });

  test("two ranks that lost each other find each other again", () => {
    const cluster = new MonitorCluster({ ranks: 2 });
    cluster.run(5000);
    cluster.network = () => undefined;
    cluster.run(7500);
    expect(cluster.members.map(({ suspects }) => [...suspects])).toEqual([[1], [0]]);
    cluster.network = () => 1;
    cluster.run(8600);
    expect(cluster.agreedSuspects()).toEqual([]);
  });

  test("a one-way link: one member suspects another, and nobody is evicted", () => {
    const cluster = new MonitorCluster({ ranks: 6 });
    cluster.run(5000);
    cluster.network = cut((from, to) => from === 2 && to === 3);
    cluster.run(60_000);
    expect(cluster.members.map(({ suspects }) => [...suspects])).toEqual([[], [], [], [2], [], []]);
    expect(cluster.evictions).toEqual([]);
    const unheard = cluster.events.find(({ by, event }) => by === 2 && event.kind === "unheard");
    expect(unheard!.event.text).toBe("rank 3 on host-3 does not hear this rank");
  });

  test("accused by a minority only: not evicted, and suspected by nobody else", () => {
    const cluster = new MonitorCluster({ ranks: 9 });
    cluster.run(5000);
    cluster.network = cut((from, to) => from === 0 && [1, 2, 3, 4].includes(to));
    cluster.run(60_000);
    const sets = cluster.members.map(({ suspects }) => suspects.length);
    expect(sets).toEqual([0, 1, 1, 1, 1, 0, 0, 0, 0]);
    expect(cluster.evictions).toEqual([]);
  });

  test("accused by as many as can agree: evicted by them", () => {
    const cluster = new MonitorCluster({ ranks: 9 });
    cluster.run(5000);
    cluster.network = cut((from, to) => from === 0 && [1, 2, 3, 4, 5].includes(to));
    cluster.run(8350);
    expect(cluster.evictions).toMatchObject([{ by: 1, ranks: [0] }]);
  });

  test("false accusations cost a look at most", () => {
    const cluster = new MonitorCluster({ ranks: 6 });
    cluster.run(5000);
    for (let at = 5000; at < 60_000; at += 50)
      cluster.schedule(at, () => {
        for (let to = 0; to < 5; to++)
          cluster.input(to, { type: "accused", by: 5, rank: (to + 1) % 5, certain: false });
      });
    cluster.run(60_000);
    expect(cluster.suspicions).toEqual([]);
    // One a tick at most of members that send heartbeats elsewhere.
    expect(cluster.sent.probe).toBeLessThan(5 * 4 * 60);
    expect(cluster.evictions).toEqual([]);
  });

  test("a lost withdrawal does not count for ever", () => {
    const cluster = new MonitorCluster({ ranks: 5 });
    cluster.run(5000);
    // Ranks 2 and 3 have said that they do not hear rank 4, and rank 0 never learns better.
    for (const by of [2, 3]) cluster.input(0, { type: "accused", by, rank: 4, certain: false });
    cluster.run(12_000);
    cluster.network = cut((from, to) => from === 4 && to === 0);
    cluster.run(60_000);
    expect(cluster.members[0].monitor.suspects).toEqual([4]);
    expect(cluster.evictions).toEqual([]);
  });
});

describe("a process that stops and goes on", () => {
  test("for long: it is evicted meanwhile, and wakes without suspecting anybody", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.run(5000);
    cluster.stop(5);
    cluster.run(35_000);
    expect(firstEvictions(cluster).get(0)!.ranks).toEqual([5]);
    const before = cluster.suspicions.length;
    cluster.resume(5);
    cluster.run(35_200);
    expect(cluster.agreedSuspects()).toEqual([]); // heard again by all at once
    cluster.run(50_000);
    expect(cluster.suspicions.slice(before).filter(({ by }) => by === 5)).toEqual([]);
    const woke = cluster.events.find(({ by, event }) => by === 5 && event.kind === "late");
    expect(woke!.event.text).toMatch(/was not scheduled for (29|30)\d{3} ms/);
  });

  test("what it missed is not waited for: it is heard again by all at once", () => {
    const cluster = new MonitorCluster({ ranks: 10 });
    cluster.run(5000);
    cluster.stop(5);
    cluster.network = ({ to }) => (to === 5 ? undefined : 1); // no probe waits for its waking
    cluster.run(7400);
    expect(cluster.members[0].suspects).toEqual([5]);
    cluster.network = () => 1;
    cluster.resume(5);
    cluster.run(7700);
    expect(cluster.agreedSuspects()).toEqual([]);
  });

  test("again and again, with hardly a moment between: it wakes without suspecting anybody", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.run(5000);
    for (let at = 5000; at < 40_000; at += 5000) {
      cluster.run(at);
      cluster.stop(5);
      cluster.run(at + 4800);
      cluster.resume(5);
    }
    cluster.run(45_000);
    expect(cluster.suspicions.filter(({ by }) => by === 5)).toEqual([]);
  });

  test("on the point of evicting a member: it listens again before it does", () => {
    const cluster = new MonitorCluster({ ranks: 5 });
    cluster.run(5000);
    cluster.network = cut((from) => from === 4);
    cluster.run(7950);
    expect(cluster.members[0].suspects).toEqual([4]);
    cluster.stop(0);
    // All is well again meanwhile, but for the way to rank 0.
    cluster.network = cut((_, to) => to === 0);
    cluster.run(12_000);
    cluster.network = ({ to }) => (to === 0 ? 500 : 1);
    cluster.resume(0);
    cluster.run(20_000);
    expect(cluster.evictions.filter(({ ranks }) => ranks.includes(4))).toEqual([]);
    expect(cluster.agreedSuspects()).toEqual([]);
  });

  test("who comes into the epoch a little late is not suspected", () => {
    const cluster = new MonitorCluster({ ranks: 8 });
    cluster.stop(5);
    cluster.network = ({ from }) => (from === 5 ? undefined : 1);
    cluster.run(1850);
    cluster.network = () => 1;
    cluster.resume(5);
    cluster.run(10_000);
    expect(cluster.suspicions).toEqual([]);
  });

  test("whoever died while it was stopped is found all the same", () => {
    const cluster = new MonitorCluster({ ranks: 4 });
    cluster.run(5000);
    cluster.stop(0);
    cluster.run(10_000);
    cluster.kill(1, 2, 3);
    cluster.run(35_000);
    cluster.resume(0);
    cluster.run(39_000);
    expect(cluster.evictions.filter(({ by }) => by === 0)).toMatchObject([
      { by: 0, ranks: [1, 2, 3] },
    ]);
  });

  test("a rank that is always late still finds a dead member", () => {
    const cluster = new MonitorCluster({ ranks: 2, lateness: (rank) => (rank === 0 ? 700 : 0) });
    cluster.run(20_000);
    expect(cluster.suspicions.filter(({ by }) => by === 0)).toEqual([]);
    cluster.kill(1);
    cluster.run(50_000);
    expect(cluster.members[0].suspects).toEqual([1]);
    expect(cluster.evictions[0]).toMatchObject({ by: 0, ranks: [1] });
  });

  test("over and over: it is suspected now and then only, and never evicted", () => {
    const cluster = new MonitorCluster({ ranks: 6 });
    const stops = 60;
    for (let each = 0; each < stops; each++) {
      cluster.schedule(5000 + each * 2000, () => cluster.stop(3));
      cluster.schedule(6500 + each * 2000, () => cluster.resume(3));
    }
    cluster.run(130_000);
    const suspicions = cluster.suspicions.filter(({ by, ranks }) => by === 4 && ranks.length > 0);
    expect(suspicions.length).toBeGreaterThan(0);
    expect(suspicions.length).toBeLessThan(stops / 10);
    expect(cluster.agreedSuspects()).toEqual([]);
    expect(cluster.evictions).toEqual([]);
  });

  test("a member that was suspected wrongly is found when it dies later", () => {
    const cluster = new MonitorCluster({ ranks: 6 });
    for (const at of [5000, 8000]) {
      cluster.schedule(at, () => cluster.stop(3));
      cluster.schedule(at + 2500, () => cluster.resume(3));
    }
    cluster.run(12_000);
    cluster.kill(3);
    cluster.run(16_500);
    expect(cluster.evictions[0]).toMatchObject({ by: 0, ranks: [3] });
  });
});

describe("hints", () => {
  test("a missed message hurries the suspicion of a dead member, and none of a live one", () => {
    const cluster = new MonitorCluster({ ranks: 16 });
    cluster.run(5000);
    cluster.kill(8);
    cluster.run(5250);
    for (const rank of [8, 9])
      cluster.input(0, { type: "missed", rank, what: "its proposal of round 7" });
    cluster.run(5850);
    expect(cluster.members[0].suspects).toEqual([8]);
    const { event } = cluster.events.find(({ by }) => by === 0)!;
    expect(event).toMatchObject({ kind: "missed", checkpoint: "C1", rank: 8 });
    expect(event.text).toBe("rank 8 on host-8 is late: its proposal of round 7");
  });

  test("a lost lane makes observers look at once", () => {
    const found = (isLost: boolean) => {
      const cluster = new MonitorCluster({ ranks: 8 });
      cluster.run(5000);
      cluster.kill(3);
      cluster.run(5250);
      if (isLost) for (const rank of cluster.living) cluster.input(rank, { type: "lane-lost" });
      cluster.run(9000);
      return cluster.suspicions[0].at;
    };
    expect(found(true)).toBeLessThanOrEqual(5850);
    expect(found(false)).toBeGreaterThan(5850);
  });

  test("an exception here and a bad status there alert the core", () => {
    const cluster = new MonitorCluster({ ranks: 4 });
    cluster.run(2000);
    cluster.input(0, { type: "status", rank: 2, ok: true });
    expect(cluster.alerts).toEqual([]);
    cluster.input(0, { type: "status", rank: 2, ok: false });
    cluster.input(1, { type: "exception", where: "validation of round 3: out of memory" });
    expect(cluster.alerts).toEqual([
      { by: 0, reason: "rank 2 could not validate" },
      { by: 1, reason: "exception: validation of round 3: out of memory" },
    ]);
    expect(cluster.events.map(({ event }) => event.checkpoint)).toEqual(["C2", "C3"]);
  });

  test("a flood of one kind is one event an interval, with the number of the others", () => {
    const cluster = new MonitorCluster({ ranks: 4 });
    for (let each = 0; each < 50; each++)
      cluster.schedule(each * 100, () =>
        cluster.input(1, { type: "exception", where: "validation" }),
      );
    cluster.run(6000);
    expect(cluster.alerts.length).toBe(50);
    expect(cluster.events.map(({ event }) => event.text)).toEqual([
      "validation",
      "validation (and 29 times before)",
    ]);
  });
});

describe("settings", () => {
  test("more ranks than cores: all deadlines grow with the square root", () => {
    const cluster = new MonitorCluster({ ranks: 8, timing: { scale: 9 } });
    cluster.run(15_000);
    expect(cluster.sent.heartbeat).toBe(8 * 3 * 51);
    cluster.kill(4);
    cluster.run(17_500);
    expect(cluster.suspicions).toEqual([]);
    cluster.run(21_000);
    expect(cluster.agreedSuspects()).toEqual([4]);
    cluster.run(23_900);
    expect(cluster.evictions).toEqual([]);
    cluster.run(27_000);
    expect(cluster.evictions[0]).toMatchObject({ by: 0, ranks: [4] });
  });

  test("where members may lie, one of them makes no death certain", () => {
    const cluster = new MonitorCluster({ ranks: 4, answersMin: 3, certainMin: 2 });
    cluster.run(2000);
    cluster.input(0, { type: "accused", by: 1, rank: 3, certain: true });
    cluster.run(10_000);
    expect(cluster.suspicions).toEqual([]);
    cluster.input(0, { type: "accused", by: 1, rank: 3, certain: true });
    expect(cluster.members[0].suspects).toEqual([]); // twice the same one
    cluster.input(0, { type: "accused", by: 2, rank: 3, certain: true });
    expect(cluster.members[0].suspects).toEqual([3]);
  });

  test("byzantine sizes: 3 of 4 have to agree", () => {
    const cluster = new MonitorCluster({ ranks: 4, answersMin: 3, certainMin: 2 });
    cluster.run(5000);
    cluster.network = cut((from, to) => from === 3 && to !== 2);
    cluster.run(30_000);
    expect(cluster.evictions).toEqual([]);
    cluster.network = cut((from) => from === 3);
    cluster.run(40_000);
    expect(cluster.evictions[0]).toMatchObject({ by: 0, ranks: [3] });
  });
});
