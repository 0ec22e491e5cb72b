/** What is measured of a point: names as they stand in the JSON and in --fail-if, their units. */

export interface Metric {
  /** Head of its column. */
  readonly title: string;
  readonly unit: string;
  /** Which way is good; neither, where a figure is there to read others by. */
  readonly better: "more" | "less" | "neither";
}

const metric = (title: string, unit: string, better: Metric["better"]): Metric => ({
  ...{ title, unit, better },
});

export const METRICS = {
  throughput: metric("tx/s", "tx/s", "more"),
  ceiling: metric("ceiling", "tx/s", "neither"),
  ratio: metric("ratio", "of the ceiling", "more"),
  operations: metric("ops/s", "operations/s", "more"),
  agreedP50Ms: metric("agreed p50", "ms", "less"),
  agreedP99Ms: metric("agreed p99", "ms", "less"),
  finalP50Ms: metric("final p50", "ms", "less"),
  finalP99Ms: metric("final p99", "ms", "less"),
  transactionsPerRound: metric("tx/round", "tx/round", "neither"),
  roundsPerS: metric("rounds/s", "rounds/s", "neither"),
  cpuUsPerTransaction: metric("CPU µs/tx", "µs/tx", "less"),
  cpuUsPerTransactionRank: metric("CPU µs/tx/rank", "µs/tx/rank", "less"),
  cpuUsPerRoundRank: metric("µs/round/rank", "µs/round/rank", "less"),
  hashesPerTransaction: metric("hashes/tx", "hashes/tx", "less"),
  hashesPerRoundRank: metric("hashes/round/rank", "hashes/round/rank", "less"),
  messagesPerTransaction: metric("messages/tx", "messages/tx", "less"),
  messagesPerRoundRank: metric("messages/round/rank", "messages/round/rank", "less"),
  bytesPerTransaction: metric("bytes/tx", "bytes/tx", "less"),
  bytesPerRoundRank: metric("bytes/round/rank", "bytes/round/rank", "less"),
  blocks: metric("blocks made", "blocks", "neither"),
  agreedMs: metric("all agreed", "ms", "less"),
  finalMs: metric("all final", "ms", "less"),
  startMs: metric("start", "ms", "less"),
  recoverMs: metric("recover", "ms", "less"),
  replayMs: metric("replay", "ms", "less"),
  verifyMs: metric("verify", "ms", "less"),
  verifyRate: metric("verified tx/s", "tx/s", "more"),
  ledgerMiB: metric("ledger MiB", "MiB", "less"),
  memoryMiB: metric("MiB/rank", "MiB/rank", "less"),
  memoryMiBPerMillionKeys: metric("MiB/rank/million keys", "MiB/rank/million keys", "less"),
} as const satisfies Record<string, Metric>;

export type MetricName = keyof typeof METRICS;
/** Of one run; what a run of this kind does not have is absent. */
export type Figures = Readonly<Partial<Record<MetricName, number>>>;

export function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(METRICS, name);
}
