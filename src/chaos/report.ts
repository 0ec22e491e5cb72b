/** The report of a run for people, on stdout, and one line of it for a batch. */
import { groups } from "../cli/output.ts";
import type { Check } from "./audit.ts";
import type { Figures, IncidentFigures, Percentiles, PhaseFigures } from "./measure.ts";
import type { RunReport } from "./run.ts";

/** Seconds of the run in one row of the list of rates. */
const SECONDS_A_ROW = 15;

export function describeRun(report: RunReport): string {
  const { figures, plan, before, after, connections } = report;
  const { submitted, agreed, final, refused, unknown } = after.counts;
  const lines = [
    ...describeRates(figures),
    "",
    `clients   ${groups(submitted)} submitted, ${groups(agreed)} told agreed, ${groups(final)} told final, ` +
      `${groups(refused)} refused, ${groups(unknown)} without a last word; ${groups(connections)} connections`,
    `ledger    ${groups(after.summary.slots)} records, ${groups(after.summary.transactions)} transactions, ` +
      `${after.summary.epochs} epochs; ${describeKinds(after.summary.records)}`,
    "",
    ...allChecks(report).map(describeCheck),
  ];
  if (!before.good && after.good)
    lines.push("before the job ended:", ...before.checks.map(describeCheck));
  for (const note of report.notes.slice(0, 20)) lines.push(`note: ${note}`);
  lines.push("", report.good ? "good: every promise was kept" : "BROKEN: see above");
  lines.push(`seed ${plan.seed}; again: ${report.command}`);
  return `${lines.join("\n")}\n`;
}

/** Of a batch: seed, what happened, how it went. */
export function describeBrief({ plan, figures, good, after, kept }: RunReport): string {
  const { agreed, final } = after.counts;
  const stall = Math.max(0, ...figures.incidents.map(({ agreedStallMs }) => agreedStallMs));
  const events = plan.events.map((event) => event.do).join("+") || "calm";
  return (
    `${good ? "good  " : "BROKEN"} seed ${plan.seed}: ${plan.ranks} ranks, ${events}; ` +
    `${groups(agreed)} agreed, ${groups(final)} final, stall ${milliseconds(stall)}, ` +
    `${after.summary.epochs} epochs${kept === undefined ? "" : `; kept in ${kept}`}\n`
  );
}

export function allChecks({ after, checks }: RunReport): readonly Check[] {
  return [...after.checks, ...checks];
}

/** What is broken, a sentence each. */
export function problemsOf(report: RunReport): string[] {
  const { before, checks, after } = report;
  const of = (all: readonly Check[]) =>
    all.flatMap(({ promise, problems }) => problems.map((problem) => `${promise}: ${problem}`));
  return [...new Set([...of(before.checks), ...of(after.checks), ...of(checks)])];
}

function describeCheck({ promise, good, text, problems }: Check): string {
  const name = promise.padEnd(4);
  if (good) return `${name} kept    ${text}`;
  return problems.map((problem) => `${name} BROKEN  ${problem}`).join("\n");
}

function describeRates(figures: Figures): string[] {
  const { before, during, after, afterOfBefore, offered, incidents } = figures;
  const lines = [`offered   ${groups(offered)} transactions a second`];
  lines.push(`before    ${phaseText(before)}`);
  if (incidents.length > 0) {
    lines.push(`during    ${phaseText(during)}`, `after     ${phaseText(after)}`);
    const share = afterOfBefore === undefined ? "too short to say" : percent(afterOfBefore);
    lines.push(`after/before  ${share}`);
  }
  lines.push("", "agreed a second, from the start of the load:");
  for (let at = 0; at < figures.agreedPerSecond.length; at += SECONDS_A_ROW) {
    const row = figures.agreedPerSecond.slice(at, at + SECONDS_A_ROW);
    lines.push(
      `${String(at).padStart(5)} s  ${row.map((rate) => String(rate).padStart(6)).join("")}`,
    );
  }
  for (const incident of incidents) lines.push(describeIncident(incident));
  lines.push(latencyText("agreed", figures.agreedLatency));
  lines.push(latencyText("final", figures.finalLatency));
  return lines;
}

function describeIncident(incident: IncidentFigures): string {
  const { text, atS, agreedStallMs, finalStallMs, freshMs, recoveryMs, worstClientMs } = incident;
  const span = (ms: number | undefined) => (ms === undefined ? "never" : milliseconds(ms));
  return (
    `at ${atS.toFixed(1)} s ${text}: nothing agreed for ${milliseconds(agreedStallMs)}, ` +
    `nothing final for ${milliseconds(finalStallMs)}; ` +
    `first agreed of what came after it: ${span(freshMs)}; half the rate again: ${span(recoveryMs)}; ` +
    `worst client ${milliseconds(worstClientMs)}`
  );
}

function phaseText({ fromS, toS, agreed, final }: PhaseFigures): string {
  const span = `${fromS.toFixed(1)} to ${toS.toFixed(1)} s`;
  if (agreed === undefined || final === undefined) return `${span}: too short for a rate`;
  return `${span}: ${agreed.toFixed(1)} agreed/s, ${final.toFixed(1)} final/s`;
}

function latencyText(level: string, latency: Percentiles | undefined): string {
  if (latency === undefined) return `${level.padEnd(7)} latency: nothing was ${level}`;
  const { p50, p90, p99, p999, max } = latency;
  const values = Object.entries({ p50, p90, p99, "p99.9": p999, max });
  return `${level.padEnd(7)} latency ${values.map(([name, ms]) => `${name} ${milliseconds(ms)}`).join(", ")}`;
}

function describeKinds(records: Readonly<Record<string, number>>): string {
  return Object.entries(records)
    .map(([kind, count]) => `${groups(count)} ${kind}`)
    .join(", ");
}

export function milliseconds(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
