/**
 * Random situations for N fault monitors, each a function of its seed, and what must hold in them.
 * Judged from outside: by who lives, who is reachable and what was said, never by the monitors'
 * own clocks.
 */
import { Random } from "../../src/base/random.ts";
import { MonitorCluster, type Network, TIMING } from "./monitor-cluster.ts";

export const { suspectMs, evictMs, turnDelayMs, heartbeatMs } = TIMING;

export interface Storm {
  readonly seed: number;
  readonly cluster: MonitorCluster;
  readonly dead: readonly number[];
  /** From here on nothing happens any more. */
  readonly calmAt: number;
}

/** Integers from `low` to `high`. */
const between = (random: Random, low: number, high: number) =>
  low + random.nextBelow(high - low + 1);
const chance = (random: Random, part: number) => random.nextFloat() < part;

function randomHosts(random: Random, ranks: number): string[] {
  const perHost = between(random, 1, ranks);
  return Array.from({ length: ranks }, (_, rank) => `host-${Math.floor(rank / perHost)}`);
}

/** Deaths, stops, partitions, one-way links, losses and late ticks, all at once, for ten seconds. */
export function storm(seed: number): Storm {
  const random = new Random(seed);
  const ranks = between(random, 1, 16);
  const calmAt = 15_000;
  const delayMax = between(random, 1, 200);
  const lossPart = chance(random, 0.5) ? random.nextFloat() / 5 : 0;
  const cuts: { from: number; to: number; isCut: (from: number, to: number) => boolean }[] = [];
  const isStormy = (at: number) => at >= 5000 && at < calmAt;
  const network: Network = ({ from, to, at }) => {
    if (isStormy(at) && chance(random, lossPart)) return undefined;
    if (cuts.some((cut) => at >= cut.from && at < cut.to && cut.isCut(from, to))) return undefined;
    return random.nextFloat() * delayMax;
  };
  const tickLate = between(random, 1, 150);
  const cluster = new MonitorCluster({
    ranks,
    hosts: randomHosts(random, ranks),
    processWatch: chance(random, 0.5),
    network,
    lateness: () => random.nextFloat() * tickLate,
  });
  for (let each = between(random, 0, 3); each > 0; each--) {
    const from = between(random, 5000, calmAt - 500);
    const to = Math.min(calmAt, from + between(random, 200, 8000));
    const [one, other] = [random.nextBelow(ranks), random.nextBelow(ranks)];
    const side = random.nextInt32();
    const isSide = (rank: number) => ((side >>> rank) & 1) === 1;
    const isPartition = chance(random, 0.5);
    cuts.push({
      ...{ from, to },
      isCut: isPartition ? (a, b) => isSide(a) !== isSide(b) : (a, b) => a === one && b === other,
    });
  }
  const dead = new Set<number>();
  for (let each = between(random, 0, ranks - 1); each > 0; each--) {
    const rank = random.nextBelow(ranks);
    if (dead.size + 1 >= ranks) break;
    dead.add(rank);
    cluster.schedule(between(random, 5000, calmAt - 1), () => cluster.kill(rank));
  }
  for (let each = between(random, 0, 3); each > 0; each--) {
    const rank = random.nextBelow(ranks);
    const from = between(random, 5000, calmAt - 500);
    cluster.schedule(from, () => cluster.stop(rank));
    cluster.schedule(Math.min(calmAt, from + between(random, 100, 8000)), () =>
      cluster.resume(rank),
    );
  }
  return { seed, cluster, dead: [...dead].sort((a, b) => a - b), calmAt };
}

/** Nobody dies and every message arrives, within less than suspectMs. */
export function quiet(seed: number): MonitorCluster {
  const random = new Random(seed);
  const ranks = between(random, 1, 20);
  const delayMax = between(random, 1, suspectMs - 1);
  const lateMax = between(random, 0, suspectMs / 3);
  return new MonitorCluster({
    ranks,
    hosts: randomHosts(random, ranks),
    processWatch: chance(random, 0.5),
    network: () => random.nextFloat() * delayMax,
    lateness: () => random.nextFloat() * lateMax,
  });
}

/** Some die within a tenth of a second, where their processes are watched. */
export function sudden(seed: number): Storm {
  const random = new Random(seed);
  const ranks = between(random, 2, 20);
  const delayMax = between(random, 1, 20);
  const cluster = new MonitorCluster({
    ranks,
    hosts: new Array<string>(ranks).fill("host"),
    processWatch: true,
    network: () => random.nextFloat() * delayMax,
  });
  const first = random.nextBelow(ranks);
  const count = between(random, 1, ranks - 1);
  const dead = Array.from({ length: count }, (_, each) => (first + each) % ranks);
  for (const rank of dead)
    cluster.schedule(5000 + random.nextFloat() * 50, () => cluster.kill(rank));
  return { seed, cluster, dead: dead.sort((a, b) => a - b), calmAt: 5050 };
}
