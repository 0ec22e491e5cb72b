/** How the results of emulations are shown: a table for people, panels of a chart. */
import type { EmulationResult } from "../../emulation/result.ts";
import type { Chart, Panel } from "../chart.ts";
import { bytesText, groups, table } from "../output.ts";

const rounded = (value: number, digits = 3) => {
  const short = Number(value.toPrecision(digits));
  return short >= 1000 ? groups(Math.round(value)) : String(short);
};
const ms = (value: number | undefined) => (value === undefined ? "-" : rounded(value));
const percent = (part: number, whole: number) =>
  whole === 0 ? "-" : `${rounded((100 * part) / whole, 4)} %`;
const agreedShare = ({ blocks }: EmulationResult) =>
  percent(blocks.agreed, blocks.agreed + blocks.lost);

type Column = readonly [string, (result: EmulationResult) => string];

const TABLES: readonly (readonly Column[])[] = [
  [
    ["ranks", ({ ranks }) => groups(ranks)],
    ["rounds", ({ rounds }) => groups(rounds)],
    ["blocks agreed", agreedShare],
    ["valid ledgers", ({ validLedgers }) => groups(validLedgers)],
    ["offered tx/s", ({ offered }) => rounded(offered, 4)],
    ["final tx/s", ({ throughput }) => rounded(throughput, 4)],
    ["agreed p50 ms", ({ latencyMs }) => ms(latencyMs.agreed.p50)],
    ["p99", ({ latencyMs }) => ms(latencyMs.agreed.p99)],
    ["final p50 ms", ({ latencyMs }) => ms(latencyMs.final.p50)],
    ["p99", ({ latencyMs }) => ms(latencyMs.final.p99)],
    ["limited by", ({ limit }) => limit],
  ],
  [
    ["ranks", ({ ranks }) => groups(ranks)],
    ["dissemination", ({ dissemination }) => dissemination],
    ["round ms", ({ roundMs }) => rounded(roundMs)],
    ["messages a rank and round", ({ messagesPerRound }) => rounded(messagesPerRound, 4)],
    ["bytes", ({ bytesPerRound }) => bytesText(Math.round(bytesPerRound))],
    ["hashes a tx", ({ hashesPerTransaction }) => rounded(hashesPerTransaction)],
    ["J a tx", ({ joulesPerTransaction }) => rounded(joulesPerTransaction)],
    ["cores", ({ utilization }) => percent(utilization.cores, 1)],
    ["network", ({ utilization }) => percent(utilization.network, 1)],
    ["storage", ({ utilization }) => percent(utilization.storage, 1)],
    ["epochs", ({ epochs }) => groups(epochs)],
  ],
];

export function describeResults(results: readonly EmulationResult[]): string {
  return TABLES.map((columns) =>
    table([columns.map(([name]) => name), ...results.map((r) => columns.map(([, of]) => of(r)))]),
  ).join("\n");
}

export function chartOf(results: readonly EmulationResult[], subtitle: string): Chart {
  const sizes = results.map(({ ranks }) => ranks);
  const series = (name: string, of: (result: EmulationResult) => number | undefined) => ({
    name,
    values: results.map(of),
  });
  const first = results[0];
  const guide = (name: string, f: (ranks: number) => number, at: number) => ({
    name,
    values: sizes.map((ranks) => (at * f(ranks)) / f(first.ranks)),
    isGuide: true,
  });
  const share = ({ blocks }: EmulationResult) =>
    (100 * blocks.agreed) / Math.max(1, blocks.agreed + blocks.lost);
  const busy = (part: number) => Math.min(100, 100 * part);
  const panels: Panel[] = [
    {
      ...{ title: "Consensus and ledgers", unit: "percent", scale: "linear" },
      series: [
        series("blocks that reach consensus", share),
        series("ranks with a valid ledger", (r) => (100 * r.validLedgers) / r.ranks),
      ],
    },
    {
      ...{ title: "Throughput", unit: "transactions a second", scale: "logarithmic" },
      series: [
        series("final", (r) => r.throughput),
        { ...series("offered", (r) => r.offered), isGuide: true },
      ],
    },
    {
      ...{ title: "Latency", unit: "milliseconds", scale: "logarithmic" },
      series: [
        series("agreed p50", (r) => r.latencyMs.agreed.p50),
        series("agreed p99", (r) => r.latencyMs.agreed.p99),
        series("final p50", (r) => r.latencyMs.final.p50),
        series("final p99", (r) => r.latencyMs.final.p99),
      ],
    },
    {
      ...{ title: "Messages of a rank in a round", unit: "messages sent", scale: "linear" },
      series: [
        series("sent", (r) => r.messagesPerRound),
        guide("as log N", Math.log2, first.messagesPerRound),
      ],
    },
    {
      ...{ title: "Bytes of a rank in a round", unit: "bytes sent", scale: "logarithmic" },
      series: [
        series("sent", (r) => r.bytesPerRound),
        guide("as N", (ranks) => ranks, first.bytesPerRound),
      ],
    },
    {
      ...{ title: "What is busy", unit: "percent of the time", scale: "linear" },
      series: [
        series("cores", (r) => busy(r.utilization.cores)),
        series("network", (r) => busy(r.utilization.network)),
        series("storage", (r) => busy(r.utilization.storage)),
      ],
    },
  ];
  return { title: "BAASH, emulated", subtitle, axis: { title: "ranks", values: sizes }, panels };
}
