/**
 * What a seed means: the cluster, its settings, its load and its faults. A scenario is a family of
 * plans; every number of a plan comes from the seed.
 */
import { Random } from "../base/random.ts";
import { DEFAULT_SETTINGS, type RankSettings } from "../rank/context.ts";
import type { NetworkModel } from "../transport/in-process.ts";

export const SCENARIOS = [
  /** Nothing fails; speeds differ. */
  "calm",
  /** Delay spikes, loss, messages that overtake each other. */
  "network",
  /** Collectives that hang or complete at some ranks only. */
  "collectives",
  /** Slow storage, EIO, ENOSPC, answers that hide a success. */
  "storage",
  /** A rank dies for good. */
  "rank-crash",
  /** Ranks that are cut off from the others for a while, or frozen; storage is in reach. */
  "partition",
  /** Messages that come twice, or with a bit flipped. */
  "corruption",
  /** Queues with hardly any room. */
  "tight",
  /** All ranks die at once, with or without power, and the job comes again. */
  "job-crash",
  /** Another job opens the ledger while the first lives: it must go away. */
  "second-job",
  /** The job is frozen past the deadline and another takes over: the first stops when it wakes. */
  "frozen-job",
  /** Everything. */
  "storm",
] as const;
export type Scenario = (typeof SCENARIOS)[number];

export type Incident =
  | {
      readonly kind: "rank-crash";
      readonly atMs: number;
      readonly rank: number;
      readonly host: boolean;
    }
  | {
      readonly kind: "partition";
      readonly atMs: number;
      readonly ranks: readonly number[];
      readonly forMs: number;
    }
  | {
      readonly kind: "freeze-rank";
      readonly atMs: number;
      readonly rank: number;
      readonly forMs: number;
    }
  | { readonly kind: "job-crash"; readonly atMs: number; readonly power: boolean }
  /** Power fails at this step of the disk after `atMs`: before it, or right after it. */
  | {
      readonly kind: "step-crash";
      readonly atMs: number;
      readonly steps: number;
      readonly after: boolean;
    }
  /** The rank that takes this change of the disk after `atMs` dies: before it, or right after it. */
  | {
      readonly kind: "recorder-crash";
      readonly atMs: number;
      readonly changes: number;
      readonly after: boolean;
    }
  | { readonly kind: "second-job"; readonly atMs: number; readonly ranks: number }
  | { readonly kind: "freeze"; readonly atMs: number; readonly forMs: number };

export interface StorageFaults {
  readonly eio: number;
  /** EIO of reads and looks. */
  readonly readEio: number;
  readonly enospc: number;
  readonly spike: number;
  readonly spikeMsMax: number;
}

export interface Plan {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly ranks: number;
  /** Of a job that is started again. */
  readonly ranksLater: number;
  readonly ranksPerHost: number;
  readonly settings: RankSettings;
  readonly takeoverMs: number;
  /** The network while faults last; afterwards it only delays. */
  readonly network: Partial<NetworkModel>;
  readonly delayMsMax: number;
  readonly storage: StorageFaults;
  readonly diskStepMsMax: number;
  /** The disk is so much slower for this rank; -1: for none. */
  readonly slowRank: number;
  readonly slowFactor: number;
  /** 0: work is done inline, at once. */
  readonly poolDelayMsMax: number;
  readonly checkThrowsRate: number;
  readonly duplicateRate: number;
  readonly corruptRate: number;
  readonly slots: {
    readonly transactions: number;
    readonly outgoing: number;
    readonly incoming: number;
  };
  readonly incidents: readonly Incident[];
  readonly faultsUntilMs: number;
  readonly loadUntilMs: number;
  readonly loadIntervalMs: number;
  /** Transactions in one call of a client at most. */
  readonly batchMax: number;
}

const NO_STORAGE_FAULTS: StorageFaults = { eio: 0, readEio: 0, enospc: 0, spike: 0, spikeMsMax: 0 };

export function planOf(seed: number, options: { scenario?: Scenario; ranks?: number } = {}): Plan {
  const random = new Random(seed, 1);
  const between = (low: number, high: number) => low + random.nextBelow(high - low + 1);
  const chance = (share: number) => random.nextFloat() < share;
  const scenario = options.scenario ?? SCENARIOS[seed % SCENARIOS.length];
  const has = (...names: Scenario[]) => names.includes(scenario) || scenario === "storm";
  const anySize = () => (chance(0.1) ? 1 : chance(0.05) ? between(6, 8) : between(2, 5));
  const ranks = options.ranks ?? anySize();
  const loadUntilMs = between(800, 3000);
  const faultsUntilMs = Math.floor(loadUntilMs * (0.6 + 0.4 * random.nextFloat()));
  const settings = settingsOf(between, chance);
  const stormy = scenario === "storm";
  const takeoverMs = 3 * (settings.pollMs + 150);
  const when = () => between(100, faultsUntilMs);
  const incidents: Incident[] = [];
  if (scenario === "rank-crash" || (stormy && chance(0.3))) {
    for (let i = chance(0.6) ? 1 : between(1, ranks); i > 0; i--) {
      const rank = random.nextBelow(ranks);
      if (chance(0.5))
        incidents.push({ kind: "rank-crash", atMs: when(), rank, host: chance(0.3) });
      else {
        const changes = between(1, 20);
        incidents.push({ kind: "recorder-crash", atMs: when(), changes, after: chance(0.5) });
      }
    }
  }
  if (scenario === "partition" || (stormy && chance(0.3))) {
    for (let i = between(1, 3); i > 0; i--) {
      const forMs = between(20, 2000);
      const cut = Array.from({ length: ranks }, (_, rank) => rank).filter(() => chance(0.4));
      if (chance(0.6)) incidents.push({ kind: "partition", atMs: when(), ranks: cut, forMs });
      else
        incidents.push({ kind: "freeze-rank", atMs: when(), rank: random.nextBelow(ranks), forMs });
    }
  }
  if (scenario === "job-crash" || (stormy && chance(0.5))) {
    for (let i = between(1, 2); i > 0; i--) {
      if (chance(0.5)) incidents.push({ kind: "job-crash", atMs: when(), power: chance(0.7) });
      else
        incidents.push({
          kind: "step-crash",
          atMs: when(),
          steps: between(1, 40),
          after: chance(0.5),
        });
    }
  }
  if (scenario === "second-job" || (stormy && chance(0.3)))
    incidents.push({ kind: "second-job", atMs: when(), ranks: between(1, 2) });
  if (scenario === "frozen-job" || (stormy && chance(0.2))) {
    const atMs = when();
    incidents.push({ kind: "freeze", atMs, forMs: takeoverMs * 3 });
    incidents.push({ kind: "second-job", atMs: atMs + 10, ranks });
  }
  return {
    seed,
    scenario,
    ranks,
    ranksLater: options.ranks ?? (chance(0.5) ? ranks : anySize()),
    ranksPerHost: chance(0.5) ? ranks : between(1, ranks),
    settings,
    takeoverMs,
    network: {
      ...(has("network") && {
        lossRate: 0.2 * random.nextFloat() * (chance(0.7) ? 1 : 0),
        reorder: chance(0.5),
        delayMaxMs: chance(0.5) ? between(1, 150) : 2,
      }),
      ...(has("collectives") && {
        collectiveHangRate: 0.1 * random.nextFloat(),
        collectivePartialRate: 0.2 * random.nextFloat(),
      }),
    },
    delayMsMax: chance(0.5) ? 0.1 : between(1, 5),
    storage: has("storage")
      ? {
          eio: chance(0.7) ? 0.08 * random.nextFloat() : 0,
          readEio: chance(0.3) ? 0.02 * random.nextFloat() : 0,
          enospc: chance(0.5) ? 0.08 * random.nextFloat() : 0,
          spike: chance(0.7) ? 0.05 * random.nextFloat() : 0,
          spikeMsMax: stormy ? 300 : between(50, 3000),
        }
      : NO_STORAGE_FAULTS,
    diskStepMsMax: chance(0.5) ? 0.3 : between(1, 8),
    slowRank: has("storage", "rank-crash") && chance(0.4) ? random.nextBelow(ranks) : -1,
    slowFactor: between(3, 60),
    poolDelayMsMax: chance(0.4) ? 0 : between(1, 30),
    checkThrowsRate: chance(0.2) ? 0.05 : 0,
    duplicateRate: has("corruption") ? 0.1 * random.nextFloat() : 0,
    corruptRate: has("corruption") && chance(0.8) ? 0.03 * random.nextFloat() : 0,
    slots:
      scenario === "tight" || (stormy && chance(0.3))
        ? { transactions: between(8, 64), outgoing: between(2, 16), incoming: between(8, 64) }
        : { transactions: 512, outgoing: 64, incoming: 1024 },
    incidents: incidents.sort((a, b) => a.atMs - b.atMs),
    faultsUntilMs,
    loadUntilMs,
    loadIntervalMs: chance(0.15) ? between(200, 600) : between(6, 60),
    batchMax: between(1, 12),
  };
}

function settingsOf(
  between: (low: number, high: number) => number,
  chance: (share: number) => boolean,
): RankSettings {
  return {
    ...DEFAULT_SETTINGS,
    blockTransactions: between(1, 5),
    blockDelayMs: between(0, 8),
    roundIntervalMs: chance(0.5) ? 0 : between(1, 20),
    proposalBlocksMax: between(1, 6),
    proposalBytesMax: 1 << 16,
    pipelineDepth: between(1, 4),
    collectiveTimeoutMs: between(100, 600),
    retryDelayMs: between(5, 20),
    pollMs: between(50, 200),
    checkpointRecords: between(3, 40),
    timing: {
      proposalTimeoutMs: between(30, 200),
      voteTimeoutMs: between(30, 200),
      turnDelayMs: between(15, 80),
      readDelayMs: between(15, 80),
      pullIntervalMs: between(10, 40),
    },
  };
}
