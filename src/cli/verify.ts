/** `baash verify`: checks a whole ledger offline, with the independent reader. */
import { Command } from "commander";
import { EXIT } from "../base/errors.ts";
import type { JournalReport } from "../verify/journal.ts";
import type { LedgerReport, LedgerSummary } from "../verify/report.ts";
import { bytesText, describe, groups, print, printJson } from "./output.ts";
import { ProgressLine } from "./progress.ts";
import { EXIT_HELP } from "./run.ts";

interface Options {
  json?: boolean;
  quiet?: boolean;
  journal?: string[];
}

const HELP = `
What is checked: genesis and its signature; every record in slot order from segments/ and log/
(checksums, hash chain, names, author's signature, puzzle, rounds, votes); every block (puzzle,
Merkle root, anchor) and transaction; a second execution of all of them against the votes' digests
of effects and the checkpoints' state roots; the sum of all balances; every checksum of segments,
checkpoints and snapshots; whom the files of evidence/ convict. Nothing in DIR is written, so a
running ledger can be verified too.

An intact record that does not count (a "warning") takes its slot and settles nothing, for the ranks
as for this reader; the ledger is good all the same.

Examples:
  baash verify /scratch/project/ledger
  baash verify ledger --json | jq .summary.transactions
  baash verify ledger --journal journal.0 journal.1    # is all that was acknowledged in it?
${EXIT_HELP}`;

export function verifyCommand(): Command {
  return new Command("verify")
    .description("check a whole ledger offline, byte by byte")
    .argument("<dir>", "directory of the ledger")
    .option("--json", "print the report as JSON")
    .option("--quiet", "no progress on stderr")
    .option("--journal <file...>", "journals of acknowledged transactions to look up in the log")
    .addHelpText("after", HELP)
    .action(verify);
}

async function verify(dir: string, options: Options): Promise<void> {
  // Loaded late: they need the native addon, and `--help` should not.
  const { readLedger } = await import("../verify/ledger-reader.ts");
  const { JournalCheck } = await import("../verify/journal.ts");
  const line = new ProgressLine(`verify ${dir}`, options.quiet === true);
  const started = performance.now();
  const journal = options.journal === undefined ? undefined : new JournalCheck(options.journal);
  const report = readLedger(dir, {
    ...(journal && { onTransaction: (ids, at, outcome) => journal.see(ids, at, outcome) }),
    onProgress({ bytes, bytesTotal, transactions }) {
      line.update(bytes / Math.max(1, bytesTotal), transactions, "transactions");
    },
  });
  line.end();
  const seconds = (performance.now() - started) / 1000;
  const proof = journal?.report();
  const good = report.damages.length === 0 && (proof === undefined || isProven(proof));
  process.exitCode = good ? EXIT.ok : EXIT.failed;
  if (options.json) {
    const facts = { good, seconds, ...report };
    await printJson({ ...facts, ...(proof && { journal: proof }) });
  } else {
    await print(await describeReport(dir, report, { seconds, good, proof }));
  }
}

function isProven(proof: JournalReport): boolean {
  return proof.missing === 0 && proof.doubled === 0;
}

async function describeReport(
  dir: string,
  report: LedgerReport,
  run: { seconds: number; good: boolean; proof: JournalReport | undefined },
): Promise<string> {
  const { describeDamage } = await import("../verify/damage.ts");
  const { describeConviction } = await import("../verify/evidence-reader.ts");
  const { describeWarning } = await import("../verify/not-valid.ts");
  const { summary, damages, warnings, convictions, notes } = report;
  const parts: string[] = [];
  for (const note of notes) parts.push(`note: ${note}\n`);
  if (summary.slots > 0) parts.push(describeSummary(summary, run.seconds));
  if (run.proof !== undefined) parts.push(describeProof(run.proof));
  for (const conviction of convictions)
    parts.push(`convicted: ${describeConviction(conviction)}\n`);
  for (const warning of warnings) parts.push(`warning: ${describeWarning(warning)}\n`);
  for (const damage of damages) parts.push(`damage: ${describeDamage(damage)}\n`);
  const proven = run.proof === undefined || isProven(run.proof);
  const verdict = run.good
    ? `good: ${dir} is intact\n`
    : damages.length > 0
      ? `bad: ${dir} is damaged; the figures above end where the first damage is\n`
      : proven
        ? `bad: ${dir}\n`
        : `bad: ${dir} is intact, but it does not hold all that was acknowledged\n`;
  return [...parts, verdict].join("");
}

function describeSummary(summary: LedgerSummary, seconds: number): string {
  const kinds = Object.entries(summary.records).map(([kind, count]) => `${groups(count)} ${kind}`);
  const outcomes = Object.entries(summary.outcomes).map(([name, n]) => `${groups(n)} ${name}`);
  const rate = groups(Math.round(summary.transactions / Math.max(seconds, 0.001)));
  return describe([
    ["chain", summary.chainId],
    ["records", `${groups(summary.slots)} (${kinds.join(", ")})`],
    ["epochs", summary.epochs],
    ["members", summary.members.length],
    ["rounds", summary.rounds],
    ["blocks", summary.blocks],
    ["transactions", summary.transactions],
    ["outcomes", outcomes.length > 0 ? outcomes.join(", ") : undefined],
    ["balances", `${groups(summary.totalBalance)} of a supply of ${groups(summary.supply)}`],
    ["key-value records", summary.storedRecords],
    ["head", `slot ${groups(summary.slots - 1)}, ${summary.headHash}`],
    ["Merkle root", summary.merkleRoot],
    ["state root", summary.stateRoot || undefined],
    ["checkpoints", summary.checkpoints],
    ["size", `${bytesText(summary.bytes)} in ${seconds.toFixed(1)} s, ${rate} transactions/s`],
  ]);
}

function describeProof(proof: JournalReport): string {
  const lines = proof.notes.map((note) => `note: ${note}\n`);
  lines.push(
    describe([
      ["acknowledged", `${groups(proof.acknowledged)}, ${groups(proof.final)} of them as final`],
      ["executed once", proof.executed],
      ["refused in log", proof.refused > 0 ? proof.refused : undefined],
      ["missing", `${groups(proof.missing)}, ${groups(proof.missingFinal)} of them final`],
      ["doubled", proof.doubled],
    ]),
  );
  for (const id of proof.missingIds) lines.push(`missing: ${id}\n`);
  for (const id of proof.doubledIds) lines.push(`doubled: ${id}\n`);
  return lines.join("");
}
