/**
 * The table of faults: runs what the rows name, and says of each what happened and what clients saw, in
 * words that come from the runs. A row whose proof is missing or failed makes the table red.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { groups } from "../cli/output.ts";
import type { Scenario } from "../simulation/plan.ts";
import { parseJunit, type TestCase } from "./junit.ts";
import { describeEvent, type Plan, parsePlan } from "./plan.ts";
import { milliseconds, problemsOf } from "./report.ts";
import type { RunReport } from "./run.ts";
import { ROWS, type Row, type Source } from "./table-rows.ts";

const PROJECT = join(import.meta.dir, "../..");

/** What one proof came to. */
export interface Proof {
  readonly good: boolean;
  readonly happened: string;
  /** Where clients took part. */
  readonly clients: string | undefined;
  /** What makes it again. */
  readonly producedBy: string;
}

export interface TableRow {
  readonly id: string;
  readonly fault: string;
  readonly good: boolean;
  readonly proofs: readonly Proof[];
}

/** How proofs are made; tests bring their own. */
export interface Makers {
  readonly runPlan: (plan: Plan) => Promise<RunReport>;
  readonly runTests: (files: readonly string[]) => Promise<readonly TestCase[]>;
  readonly simulate: (scenario: Scenario, seed: number) => Promise<SimulationFacts>;
  /** Seeds of each scenario. */
  readonly seeds: number;
  say(text: string): void;
}

export interface SimulationFacts {
  readonly accepted: number;
  readonly receipts: number;
  readonly violation: string | undefined;
}

export async function makeTable(rows: readonly Row[], makers: Makers): Promise<TableRow[]> {
  const sources = rows.flatMap((row) => row.sources);
  const files = sources.flatMap((source) => (source.kind === "test" ? [source.file] : []));
  const cases = files.length === 0 ? [] : await makers.runTests([...new Set(files)]);
  const known = new Map<string, Promise<Proof>>();
  const table: TableRow[] = [];
  for (const row of rows) {
    const proofs: Proof[] = [];
    for (const source of row.sources) {
      // Rows share proofs: what was made for one is not made again.
      const key = keyOf(source);
      let proof = known.get(key);
      if (proof === undefined) {
        if (source.kind !== "test") makers.say(`${row.id} ${row.fault}: ${source.kind} …`);
        known.set(key, (proof = prove(row.id, source, cases, makers)));
      }
      proofs.push(await proof);
    }
    const good = proofs.length > 0 && proofs.every((proof) => proof.good);
    table.push({ id: row.id, fault: row.fault, good, proofs });
  }
  return table;
}

function keyOf(source: Source): string {
  return source.kind === "test" ? `${source.file} ${source.name}` : JSON.stringify(source);
}

function prove(
  id: string,
  source: Source,
  cases: readonly TestCase[],
  makers: Makers,
): Promise<Proof> {
  switch (source.kind) {
    case "plan":
      return provePlan(id, source.plan, makers);
    case "test":
      return Promise.resolve(proveTest(source, cases));
    case "simulation":
      return proveSimulation(source.scenario, makers);
  }
}

async function provePlan(id: string, given: object, makers: Makers): Promise<Proof> {
  const plan = parsePlan({ version: 1, ...given }, "table");
  const report = await makers.runPlan(plan);
  const { figures, after, before, notes, connections } = report;
  const { counts, summary } = after;
  const incidents = figures.incidents.map(
    ({ text, agreedStallMs, finalStallMs }) =>
      `${text}: nothing agreed for ${milliseconds(agreedStallMs)}, nothing final for ${milliseconds(finalStallMs)}`,
  );
  const kinds = Object.entries(summary.records).map(([kind, count]) => `${groups(count)} ${kind}`);
  const problems = problemsOf(report);
  const happened = [
    ...(incidents.length > 0 ? incidents : plan.events.map(describeEvent)),
    `${summary.epochs} epochs, ${kinds.join(", ")}`,
    ...notes.filter((note) => /job|struck/.test(note)),
    ...problems,
  ];
  const lost = before.counts.unknown;
  return {
    good: report.good,
    happened: happened.join("; "),
    clients:
      `${groups(counts.final)} of ${groups(counts.submitted)} told final, each in the log once; ` +
      `${groups(lost)} without a last word, ${groups(counts.refused)} refused; ` +
      `final p99 ${latencyOf(report)}; ${connections} connections`,
    producedBy: `scripts/chaos table --only ${id}`,
  };
}

function latencyOf({ figures }: RunReport): string {
  return figures.finalLatency === undefined ? "unknown" : milliseconds(figures.finalLatency.p99);
}

function proveTest(source: Extract<Source, { kind: "test" }>, cases: readonly TestCase[]): Proof {
  const { file, name, ofClients = false } = source;
  const own = cases.filter((each) => each.file === file && name.test(each.name));
  const failed = own.filter(({ passed }) => !passed);
  const producedBy = `scripts/test ${file}`;
  if (own.length === 0) {
    const happened = `NOT SHOWN: no test matches ${name}`;
    return { good: false, happened, clients: undefined, producedBy };
  }
  const told = (failed.length > 0 ? failed : own).map((each) => each.name);
  const happened = `${failed.length > 0 ? "FAILED" : "passed"}: ${told.join("; ")}`;
  return {
    good: failed.length === 0,
    happened,
    clients: ofClients ? happened : undefined,
    producedBy,
  };
}

async function proveSimulation(scenario: Scenario, makers: Makers): Promise<Proof> {
  const sums = { accepted: 0, receipts: 0 };
  const producedBy = `bun src/cli.ts simulate --faults ${scenario} --seeds ${makers.seeds}`;
  for (let seed = 1; seed <= makers.seeds; seed++) {
    const { accepted, receipts, violation } = await makers.simulate(scenario, seed);
    sums.accepted += accepted;
    sums.receipts += receipts;
    if (violation === undefined) continue;
    const happened = `FAILED: seed ${seed}: ${violation}`;
    return { good: false, happened, clients: undefined, producedBy };
  }
  return {
    good: true,
    happened: `${makers.seeds} seeds of "${scenario}", no promise broken`,
    clients: `${groups(sums.accepted)} transactions accepted, ${groups(sums.receipts)} receipts, none of them wrong`,
    producedBy,
  };
}

/** As Markdown. */
export function describeTable(table: readonly TableRow[]): string {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const lines = [
    "| # | fault | | what happened | what the client saw | produced by |",
    "|---|---|---|---|---|---|",
  ];
  for (const { id, fault, good, proofs } of table) {
    const join = (parts: readonly (string | undefined)[]) =>
      cell(parts.filter((part) => part !== undefined).join("<br>"));
    const happened = join(proofs.map((proof) => proof.happened));
    const seen = join(proofs.map((proof) => proof.clients)) || "no client takes part";
    const by = join(proofs.map((proof) => `\`${proof.producedBy}\``));
    const verdict = good ? "good" : "**BAD**";
    lines.push(`| ${id} | ${cell(fault)} | ${verdict} | ${happened} | ${seen} | ${by} |`);
  }
  const bad = table.filter(({ good }) => !good).map(({ id }) => id);
  const verdict = bad.length === 0 ? "all good" : `bad: ${bad.join(", ")}`;
  return `${lines.join("\n")}\n\n${table.length} rows; ${verdict}\n`;
}

/** "1,4,13" → the rows with these numbers, 13a to 13c among them. Unknown ones are answered apart. */
export function chooseRows(only: string | undefined): { rows: Row[]; unknown: string[] } {
  if (only === undefined) return { rows: [...ROWS], unknown: [] };
  const wanted = only.split(",").map((each) => each.trim());
  const fits = (row: Row, id: string) => row.id === id || row.id.replace(/[a-z]$/, "") === id;
  return {
    rows: ROWS.filter((row) => wanted.some((id) => fits(row, id))),
    unknown: wanted.filter((id) => !ROWS.some((row) => fits(row, id))),
  };
}

/** Runs test files and reads their report; a failed test is a result, not an error. */
export async function runTests(files: readonly string[]): Promise<TestCase[]> {
  const folder = mkdtempSync(join(tmpdir(), "baash-junit-"));
  const report = join(folder, "junit.xml");
  try {
    const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
    const paths = files.map((file) => `./${file}`);
    const child = Bun.spawn(
      [process.execPath, "test", "--timeout", "120000", ...reporter, ...paths],
      { cwd: PROJECT, stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    );
    await child.exited;
    return parseJunit(readFileSync(report, "utf8"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
