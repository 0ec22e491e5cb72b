/**
 * What ycsb-load prints at its end: the facts that a figure is worth nothing without, the report of
 * each phase, the proof; as YCSB's lines, one JSON object, or a table.
 */
import { BaashError, EXIT, errorCode } from "../../base/errors.ts";
import type { RankReport } from "../../job/job.ts";
import type { JobFacts } from "../../job/reporter.ts";
import type { MergedResult } from "../../workload/measurements.ts";
import {
  hlogReport,
  jsonReport,
  type Line,
  type ReportOptions,
  reportLines,
  tableReport,
  ycsbReport,
} from "../../workload/report.ts";
import { fieldBytesMax, type WorkloadConfig } from "../../workload/workload-config.ts";
import { describe } from "../output.ts";
import type { LoadPlan, Output } from "./options.ts";
import type { Proof } from "./proof.ts";

export interface PhaseOutcome {
  readonly phase: string;
  readonly merged: MergedResult;
}

export interface LoadOutcome {
  readonly facts: JobFacts;
  readonly phases: readonly PhaseOutcome[];
  /** What each rank said of itself at its end. */
  readonly reports: readonly RankReport[];
  readonly proof: Proof;
  /** A signal ended the load early. */
  readonly interrupted: boolean;
}

export function reportOptions(workload: WorkloadConfig): ReportOptions {
  return {
    ack: workload["baash.ack"],
    interval: workload["measurement.interval"],
    percentiles: workload["hdrhistogram.percentiles"],
  };
}

/** Bytes of values, without keys and headers. */
export function payloadText(workload: WorkloadConfig): string {
  if (workload.kind === "transfers") return "64 bytes a transfer, all of it";
  const varies = workload.fieldlengthdistribution !== "constant" ? "up to " : "";
  const field = fieldBytesMax(workload);
  const fields = workload.writeallfields ? workload.fieldcount : 1;
  return `${varies}${fields * field} bytes an update, ${workload.fieldcount * field} an insert`;
}

function factRows(plan: LoadPlan, facts: JobFacts): [string, string | number][] {
  const { workload } = plan;
  const paced = workload["baash.targetperrank"] * facts.ranks || workload.target;
  return [
    ["Host", facts.host],
    ["Cores", facts.cores],
    ["Ranks", facts.hosts === 1 ? facts.ranks : `${facts.ranks} on ${facts.hosts} hosts`],
    ["Load", plan.load === "ranks" ? "inside each rank" : "a client process a rank, Unix socket"],
    ["Target", paced > 0 ? `${paced} ops/s` : "open throttle"],
    ["Acknowledgement", workload["baash.ack"]],
    ["Payload", payloadText(workload)],
    ["Block", `${facts.blockTransactions} transactions, ${facts.difficulty} puzzle bits`],
    ["Authentication", facts.authentication],
    ["Ledger", `${facts.ledger}, ${facts.created ? "new" : "continued"}`],
    ["FileSystem", facts.fileSystem],
    ["Synced", facts.synced ? "each record, before it is final" : "no: final means linked"],
  ];
}

/** The whole text of standard output, but for the verdict. */
export function describeOutcome(plan: LoadPlan, outcome: LoadOutcome): string {
  const rows = factRows(plan, outcome.facts);
  const last = outcome.phases.at(-1);
  switch (plan.output) {
    case "json":
      return `${JSON.stringify(jsonOutcome(plan, outcome), null, 1)}\n`;
    case "table":
      return `${describe(rows)}\n${last === undefined ? "" : phaseReport(plan, last, "table")}`;
    case "ycsb": {
      const facts = rows.map(([name, value]) => `[BAASH], ${name}, ${value}\n`).join("");
      return facts + (last === undefined ? "" : phaseReport(plan, last, "ycsb"));
    }
  }
}

export function phaseReport(plan: LoadPlan, { merged }: PhaseOutcome, output: Output): string {
  const options = reportOptions(plan.workload);
  if (output === "table") return tableReport(merged, options);
  const lines = reportLines(merged, options);
  return output === "json" ? jsonReport(lines) : ycsbReport(lines);
}

function jsonOutcome(plan: LoadPlan, { facts, phases, proof, interrupted }: LoadOutcome) {
  const options = reportOptions(plan.workload);
  return {
    verified: proof.verified,
    interrupted,
    facts: {
      ...facts,
      load: plan.load,
      ack: plan.workload["baash.ack"],
      payload: payloadText(plan.workload),
    },
    phases: Object.fromEntries(
      phases.map(({ phase, merged }): [string, Line[]] => [phase, reportLines(merged, options)]),
    ),
    proof,
  };
}

/**
 * Files that properties ask for: the report of the last phase, histograms of each. Throws
 * EXPORT_UNWRITABLE (exit 74).
 */
export async function writeFiles(plan: LoadPlan, outcome: LoadOutcome): Promise<void> {
  const { exportfile, report } = plan.workload;
  const last = outcome.phases.at(-1);
  if (exportfile !== "" && last !== undefined) {
    await write(exportfile, phaseReport(plan, last, report));
  }
  if (!plan.workload["hdrhistogram.fileoutput"]) return;
  const prefix = plan.workload["hdrhistogram.output.path"];
  for (const { phase, merged } of outcome.phases) {
    await write(`${prefix}${phase}.hlog`, hlogReport(merged));
  }
}

async function write(path: string, text: string): Promise<void> {
  try {
    await Bun.write(path, text);
  } catch (cause) {
    throw new BaashError(
      "EXPORT_UNWRITABLE",
      `${path} cannot be written (${errorCode(cause)}): the report is on standard output all the same.`,
      { exitCode: EXIT.io, cause },
    );
  }
}
