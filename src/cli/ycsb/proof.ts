/**
 * The end of a run: does the ledger hold what it promised? Every rank must have come to the same
 * head and state, the whole ledger must verify, and each transaction that was acknowledged must be in
 * the log, executed once. Read back by verify's reader, which shares no code with the writer.
 */
import { BaashError } from "../../base/errors.ts";
import type { RankReport } from "../../job/job.ts";
import { describeDamage } from "../../verify/damage.ts";
import { JournalCheck, type JournalReport } from "../../verify/journal.ts";
import { readLedger } from "../../verify/ledger-reader.ts";
import type { LedgerSummary } from "../../verify/report.ts";
import { groups } from "../output.ts";

export interface ProofInput {
  readonly ledger: string;
  readonly ranks: number;
  /** What each rank said of itself at its end. */
  readonly reports: readonly RankReport[];
  /** Files of acknowledgements, one a rank. */
  readonly journals: readonly string[];
  /** Transactions that the load counted as executed: the journals hold no fewer. */
  readonly counted: number;
  readonly onProgress?: (part: number, transactions: number) => void;
}

export interface Proof {
  readonly verified: boolean;
  /** What was checked and found good, a clause each. */
  readonly checked: readonly string[];
  /** What is missing or wrong, a sentence each. */
  readonly problems: readonly string[];
  readonly ledger: LedgerSummary | undefined;
  readonly journal: JournalReport | undefined;
  readonly notes: readonly string[];
}

export function prove(input: ProofInput): Proof {
  const checked: string[] = [];
  const problems: string[] = [];
  const read = readBack(input, problems);
  if (read !== undefined) {
    const { summary, damages } = read.report;
    for (const damage of damages) problems.push(describeDamage(damage));
    // Past the first damage nothing was read: what the ranks say cannot be compared.
    if (damages.length === 0) {
      checkRanks(input, summary, { checked, problems });
      checked.push(
        `storage intact (${groups(summary.slots)} records, ${groups(summary.blocks)} blocks, ` +
          `${groups(summary.transactions)} transactions)`,
      );
    }
    checkJournal(input, read.journal, { checked, problems });
  }
  return {
    verified: problems.length === 0,
    checked,
    problems,
    ledger: read?.report.summary,
    journal: read?.journal,
    notes: [...(read?.report.notes ?? []), ...(read?.journal.notes ?? [])],
  };
}

type Findings = { checked: string[]; problems: string[] };

function readBack(input: ProofInput, problems: string[]) {
  try {
    const check = new JournalCheck(input.journals);
    const report = readLedger(input.ledger, {
      onTransaction: (ids, at, outcome) => check.see(ids, at, outcome),
      onProgress: ({ bytes, bytesTotal, transactions }) =>
        input.onProgress?.(bytes / Math.max(1, bytesTotal), transactions),
    });
    return { report, journal: check.report() };
  } catch (error) {
    if (!(error instanceof BaashError)) throw error;
    problems.push(error.message);
    return undefined;
  }
}

function checkRanks(input: ProofInput, summary: LedgerSummary, { checked, problems }: Findings) {
  const before = problems.length;
  const { reports, ranks } = input;
  if (reports.length !== ranks) {
    problems.push(`Only ${reports.length} of ${ranks} ranks said where they ended.`);
  }
  const expected = {
    slot: summary.slots - 1,
    head: summary.headHash,
    stateRoot: summary.stateRoot,
    balanceTotal: summary.supply,
  };
  for (const report of reports) {
    for (const name of Object.keys(expected) as (keyof typeof expected)[]) {
      if (report[name] === expected[name]) continue;
      problems.push(
        `Rank ${report.rank} ended with ${name} ${report[name]}, the log says ${expected[name]}.`,
      );
    }
  }
  if (problems.length > before) return;
  checked.push(`${ranks} ranks and the log at slot ${expected.slot} with one head and state root`);
  checked.push(
    `total conserved (balances add up to the supply of ${groups(summary.supply)} on each of them)`,
  );
}

function checkJournal(
  { counted }: ProofInput,
  journal: JournalReport,
  { checked, problems }: Findings,
) {
  const before = problems.length;
  const name = (ids: readonly string[]) => ids.slice(0, 3).join(", ");
  if (journal.missing > 0) {
    problems.push(
      `${groups(journal.missing)} acknowledged transactions are not in the log ` +
        `(${groups(journal.missingFinal)} of them acknowledged final): ${name(journal.missingIds)}`,
    );
  }
  if (journal.doubled > 0) {
    problems.push(
      `${groups(journal.doubled)} acknowledged transactions were executed more than once: ` +
        name(journal.doubledIds),
    );
  }
  if (journal.final < counted) {
    problems.push(
      `The journals hold ${groups(journal.final)} final acknowledgements, ` +
        `yet the load counted ${groups(counted)} executed transactions.`,
    );
  }
  if (problems.length > before) return;
  checked.push(
    `all ${groups(journal.acknowledged)} acknowledged transactions in the log exactly once`,
  );
}
