/**
 * What ranks share and wait for: the cores of their node, its network, storage. Each is a server
 * that takes work in the order it comes; all nodes are alike, so one of them stands for all. Keeps
 * account of how busy each was and with what.
 */
import type { CostModel, Link } from "./cost-model.ts";
import type { Traffic } from "./dissemination.ts";

export interface Placement {
  readonly ranks: number;
  readonly ranksPerNode: number;
  readonly coresPerNode: number;
}

/** What the cores are busy with. */
export const WORK = [
  ...(["round", "messages", "consensus", "blocks"] as const),
  ...(["puzzle", "transactions", "record"] as const),
];
export type Work = (typeof WORK)[number];

/** A thread is woken for it, on a core that others had before. Work that follows finds its caches warm. */
const CROWDED: ReadonlySet<Work> = new Set(["round", "messages"]);

/** Core milliseconds of one rank, by what for. */
export type Effort = Partial<Record<Work, number>>;

/** Ranks on a core beyond which its caches are as cold as they get: so many were measured. */
const CROWD_MAX = 4;

/** How many doublings of the ranks on a core make its caches colder. */
export function crowdOf(ranksPerCore: number): number {
  return Math.log2(Math.min(CROWD_MAX, Math.max(1, ranksPerCore)));
}

export class Resources {
  readonly busyMs: Record<Work, number> = {
    ...{ round: 0, messages: 0, consensus: 0, blocks: 0 },
    ...{ puzzle: 0, transactions: 0, record: 0 },
  };
  networkMs = 0;
  storageMs = 0;
  /** Since the last `forget`. */
  since = 0;
  private readonly model: CostModel;
  /** Milliseconds of a node per core millisecond of each of its ranks. */
  readonly share: number;
  /** What each turn of a thread takes longer where others had the core before. */
  private readonly crowded: number;
  private readonly link: Link;
  private readonly neighbors: number;
  private coresFreeAt = 0;
  private storageFreeAt = 0;

  constructor(model: CostModel, { ranks, ranksPerNode, coresPerNode }: Placement) {
    this.model = model;
    this.neighbors = Math.min(ranks, ranksPerNode);
    // The work of a round is one thread's: a core more than ranks is of no use to it.
    const perCore = Math.max(1, this.neighbors / coresPerNode);
    this.share = perCore;
    this.crowded = 1 + model.cpu.crowding * crowdOf(perCore);
    this.link = ranks <= ranksPerNode ? model.network.local : model.network.remote;
  }

  /** What was spent so far does not count: the system warms up. */
  forget(now: number): void {
    for (const work of WORK) this.busyMs[work] = 0;
    this.networkMs = 0;
    this.storageMs = 0;
    this.since = now;
  }

  /**
   * Every rank has `mean` to do from `now` on; the one with most has `slowest` core milliseconds.
   * Answers when all are done.
   */
  compute(now: number, mean: Effort, slowest?: number): number {
    let all = 0;
    for (const work of WORK) {
      const own = (mean[work] ?? 0) * (CROWDED.has(work) ? this.crowded : 1);
      this.busyMs[work] += own;
      all += own;
    }
    const start = Math.max(now, this.coresFreeAt);
    this.coresFreeAt = start + all * this.share;
    return Math.max(this.coresFreeAt, start + Math.max(all, slowest ?? 0));
  }

  /**
   * As `compute`, of little work that comes while the cores are at something else: each thread gets its
   * turn, so it shares them with what is under way instead of waiting for all of it.
   */
  computeBeside(now: number, mean: Effort): number {
    const isBusy = this.coresFreeAt > now;
    const before = this.coresFreeAt;
    const alone = this.compute(now, mean) - Math.max(now, before);
    return Math.min(this.coresFreeAt, now + (isBusy ? 2 : 1) * alone);
  }

  /** As `compute`, but of one rank alone: the others go on meanwhile. */
  computeAlone(now: number, work: Work, ms: number, ranks: number): number {
    this.busyMs[work] += ms / ranks;
    this.coresFreeAt = Math.max(now, this.coresFreeAt) + (ms * this.share) / this.neighbors;
    return Math.max(now + ms, Math.min(this.coresFreeAt, now + ms * this.share));
  }

  /** Core milliseconds that one rank needs for its messages of this traffic, both sides. */
  handling({ messages, bytes }: Traffic): number {
    const { messageUs, byteNs } = this.model.cpu;
    return (2 * messages * messageUs) / 1000 + (2 * bytes * byteNs) / 1e6;
  }

  /** Milliseconds that this traffic is on its way, each step after the one before. */
  wire({ bytes, steps, busiest }: Traffic): number {
    const { latencyUs, bandwidthBytesPerS, nodeBandwidthBytesPerS } = this.link;
    const perRank = Math.min(bandwidthBytesPerS, nodeBandwidthBytesPerS / this.neighbors);
    const moving = (1000 * bytes) / perRank;
    this.networkMs += moving;
    const { messageUs } = this.model.cpu;
    // A chain is as long as its steps; who sends many sends them one after the other.
    const inTurn = Math.max(steps * (latencyUs + messageUs), latencyUs + busiest * messageUs);
    return (steps === 0 ? 0 : inTurn / 1000) + moving;
  }

  /** When a record of so many bytes is synced and linked. */
  append(now: number, bytes: number): number {
    const { appendMs, bandwidthBytesPerS } = this.model.storage;
    const takes = appendMs + (1000 * bytes) / bandwidthBytesPerS;
    this.storageMs += takes;
    this.storageFreeAt = Math.max(now, this.storageFreeAt) + takes;
    return this.storageFreeAt;
  }

  get coresMs(): number {
    return WORK.reduce((sum, work) => sum + this.busyMs[work], 0);
  }

  /** Shares of the time since `forget`: 1 is always busy. */
  utilization(now: number): Record<"cores" | "network" | "storage", number> {
    const elapsed = Math.max(now - this.since, Number.MIN_VALUE);
    return {
      cores: (this.coresMs * this.share) / elapsed,
      network: this.networkMs / elapsed,
      storage: this.storageMs / elapsed,
    };
  }
}
