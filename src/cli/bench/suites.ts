/**
 * The suites: what each one varies and what it holds still, which figures it is about. A point is a
 * setting; `settingsOf` says which ones, and nothing else decides what is run.
 */
import type { Panel } from "../chart.ts";
import type { MetricName } from "./metrics.ts";
import { PRESET, QUICK, type Setting } from "./setting.ts";

export interface PanelPlan extends Omit<Panel, "series"> {
  readonly metrics: readonly MetricName[];
  /** Name of a line to compare with: through the first metric's first point, growing as the axis. */
  readonly guide?: string;
}

export interface Suite {
  readonly name: string;
  /** A clause for the help and the head of the table. */
  readonly about: string;
  readonly axis: keyof Setting;
  readonly values: readonly (number | string)[];
  /** Where it differs from the preset; flags beat it. */
  readonly base?: Partial<Setting>;
  /** "life": a ledger is made, started, killed, recovered, verified; "load": it is driven. */
  readonly kind: "load" | "life";
  /** Columns of its tables; of the very first one the least and largest are shown, too. */
  readonly tables: readonly (readonly MetricName[])[];
  readonly panels: readonly PanelPlan[];
  /** Points that follow one that does not serve what is offered are left out. */
  readonly endsSaturated?: true;
  /** A run ends when its work is done, and is not warmed up. */
  readonly isUntimed?: true;
  /** Why no ceiling stands beside these figures; absent: one does. */
  readonly noCeiling?: string;
}

const LATENCIES = ["agreedP50Ms", "agreedP99Ms", "finalP50Ms", "finalP99Ms"] as const;
const RATES = ["throughput", "ceiling", "ratio", ...LATENCIES] as const;
const COSTS = [
  ...(["throughput", "cpuUsPerTransaction", "hashesPerTransaction"] as const),
  ...(["messagesPerTransaction", "bytesPerTransaction"] as const),
];
const COSTS_OF_A_RANK = [
  ...(["cpuUsPerTransactionRank", "cpuUsPerRoundRank", "hashesPerRoundRank"] as const),
  ...(["messagesPerRoundRank", "bytesPerRoundRank"] as const),
];
const LATENCY_PANEL: PanelPlan = {
  ...{ title: "Latency", unit: "milliseconds", scale: "logarithmic" },
  metrics: LATENCIES,
};
const RATE_PANELS: readonly PanelPlan[] = [
  {
    ...{ title: "Throughput", unit: "transactions a second", scale: "logarithmic" },
    metrics: ["throughput", "ceiling"],
  },
  {
    ...{ title: "Beside the ceiling", unit: "part of the ceiling", scale: "linear" },
    metrics: ["ratio"],
  },
  LATENCY_PANEL,
  {
    ...{ title: "Processor time", unit: "µs a transaction and rank", scale: "linear" },
    metrics: ["cpuUsPerTransactionRank"],
  },
];
const panel = (
  title: string,
  unit: string,
  metrics: readonly MetricName[],
  rest: Partial<PanelPlan> = {},
): PanelPlan => ({ title, unit, scale: "linear", metrics, ...rest });

/** How a throughput is measured: beside its ceiling. */
const rate = { kind: "load", tables: [RATES], panels: RATE_PANELS } as const;
const RANKS = [1, 2, 4, 8, 16, 32, 64];
/** Loading a table must not take longer than measuring. */
const FEW = { records: 10_000 };

export const SUITES: readonly Suite[] = [
  {
    ...{ name: "headline", about: "updates as fast as it goes", axis: "ranks", ...rate },
    values: [PRESET.ranks],
  },
  {
    ...{ name: "ranks", about: "throughput against ranks", axis: "ranks", ...rate },
    ...{ values: RANKS, base: FEW },
  },
  {
    ...{ name: "blocks", about: "throughput against block size", ...rate },
    ...{ axis: "blockTransactions", values: [1, 4, 16, 100, 1000], base: FEW },
  },
  {
    ...{ name: "values", about: "throughput against value size", ...rate },
    ...{ axis: "valueBytes", values: [16, 100, 256, 1024] },
  },
  {
    ...{ name: "difficulty", about: "throughput against the puzzle", ...rate },
    ...{ axis: "difficulty", values: [0, 4, 8, 12] },
  },
  {
    ...{ name: "quorum", about: "members that only crash, and members that may lie", ...rate },
    ...{ axis: "quorum", values: ["majority", "byzantine"], base: FEW },
  },
  {
    ...{ name: "sync", about: "with every record synced, and with none", ...rate },
    ...{ axis: "sync", values: ["on", "off"] },
  },
  {
    ...{ name: "workloads", about: "YCSB a to f, and transfers", kind: "load", axis: "workload" },
    values: [
      ...["workloada", "workloadb", "workloadc", "workloadd", "workloade", "workloadf"],
      "transfers",
    ],
    base: FEW,
    tables: [["operations", "throughput", "ceiling", "ratio"], LATENCIES],
    panels: [
      panel("Throughput", "a second", ["operations", "throughput"], { scale: "logarithmic" }),
      LATENCY_PANEL,
    ],
  },
  {
    ...{ name: "load", about: "latency against offered load", kind: "load", axis: "offered" },
    values: [250, 1000, 4000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000],
    ...{ base: FEW, endsSaturated: true, noCeiling: "the load is given" },
    tables: [["throughput", ...LATENCIES, "transactionsPerRound"]],
    panels: [
      LATENCY_PANEL,
      panel("Throughput", "transactions a second", ["throughput"], {
        ...{ scale: "logarithmic", guide: "as offered" },
      }),
    ],
  },
  {
    ...{ name: "chain", about: "time for so many blocks (Figure 7 of the paper)", kind: "load" },
    ...{ axis: "blocks", values: [1, 10, 100, 1000, 10_000] },
    // The paper's blocks. Loading the table is the warm-up.
    ...{ base: { ...FEW, blockTransactions: 4 }, isUntimed: true },
    noCeiling: "a time, not a throughput",
    tables: [["finalMs", "agreedMs", "blocks", "throughput"]],
    panels: [
      panel("Time", "milliseconds", ["agreedMs", "finalMs"], { scale: "logarithmic" }),
      panel("Throughput", "transactions a second", ["throughput"]),
    ],
  },
  {
    ...{ name: "ledger", about: "starting, recovering and verifying against ledger size" },
    ...{ kind: "life", axis: "records", values: [10_000, 100_000, 1_000_000], isUntimed: true },
    noCeiling: "times, not a throughput",
    tables: [["startMs", "recoverMs", "replayMs", "verifyMs", "verifyRate", "ledgerMiB"]],
    panels: [
      panel("Time until it serves", "milliseconds", ["startMs", "recoverMs", "replayMs"], {
        scale: "logarithmic",
      }),
      panel("Verifying", "milliseconds", ["verifyMs"], { scale: "logarithmic" }),
    ],
  },
  {
    ...{ name: "memory", about: "memory of a rank against keys", kind: "load", axis: "records" },
    ...{ values: [10_000, 100_000, 1_000_000], noCeiling: "sizes, not a throughput" },
    tables: [["memoryMiB", "memoryMiBPerMillionKeys", "throughput"]],
    panels: [panel("Memory of a rank", "MiB", ["memoryMiB"])],
  },
  {
    ...{ name: "cost", about: "what one transaction costs against ranks, at one offered load" },
    ...{ kind: "load", axis: "ranks", values: RANKS, noCeiling: "the load is given" },
    base: { ...FEW, blockTransactions: 100, offered: 2000 },
    tables: [COSTS, COSTS_OF_A_RANK],
    panels: [
      panel("Processor time", "µs a transaction and rank", ["cpuUsPerTransactionRank"]),
      panel("Hashes", "a transaction, all ranks", ["hashesPerTransaction"], { guide: "as N" }),
      panel("Messages", "sent by a rank in a round", ["messagesPerRoundRank"], { guide: "as N" }),
      panel("Bytes", "sent by a rank in a round", ["bytesPerRoundRank"], { guide: "as N" }),
    ],
  },
];

/** What somebody asked for on the command line. */
export interface Given {
  /** Parts of the setting that flags have named. */
  readonly parts: Partial<Setting>;
  /** Points of the one suite that was named, instead of its own. */
  readonly at?: readonly (number | string)[];
  readonly quick: boolean;
  /** Cores of this machine. */
  readonly cores: number;
}

/** Points of a quick run. */
const QUICK_POINTS = 2;

/** The settings of a suite's points, in order. A flag does not apply to what the suite varies. */
export function settingsOf(suite: Suite, given: Given): Setting[] {
  const { axis, base, name, values } = suite;
  const { parts, quick, cores } = given;
  const own = name === "headline" ? [parts.ranks ?? PRESET.ranks] : values;
  const chosen = given.at ?? (quick ? own.slice(0, QUICK_POINTS) : own);
  return chosen.map((value) => {
    const setting = { ...PRESET, ...base, ...(quick && QUICK), ...parts, [axis]: value };
    if (suite.isUntimed) return { ...setting, seconds: 0, warmup: 0 };
    if (parts.warmup !== undefined) return setting;
    return { ...setting, warmup: setting.warmup * crowding(setting.ranks, cores) };
  });
}

/** Engines that share a core take longer until they have compiled what they run. */
function crowding(ranks: number, cores: number): number {
  return Math.max(1, ranks / (2 * cores));
}
