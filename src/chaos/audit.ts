/**
 * Did the ledger keep its promises? S1 to S8 and S11 of protocol.md, from the directory as verify's
 * independent reader sees it, the clients' journals, and what ranks said of themselves. A promise is
 * only called kept with the number of things that were looked at.
 */
import { groups } from "../cli/output.ts";
import { type DamageFacts, describeDamage } from "../verify/damage.ts";
import { describeConviction } from "../verify/evidence-reader.ts";
import { readLedger } from "../verify/ledger-reader.ts";
import { describeWarning, type Warning } from "../verify/not-valid.ts";
import type { LedgerReport, LedgerSummary } from "../verify/report.ts";
import { agreedAtRisk, type ChainFacts, type Loss, readChainFacts } from "./chain-facts.ts";
import type { Journal, ReadStamp } from "./journal.ts";
import { type Finding, Told, type ToldCounts, type ToldReport } from "./told.ts";

export type PromiseName =
  | "S1"
  | "S2"
  | "S3"
  | "S4"
  | "S5"
  | "S6"
  | "S7"
  | "S8"
  | "S11"
  | "L2"
  | "UP"
  | "STOP"
  | "END";

export interface Check {
  readonly promise: PromiseName;
  readonly good: boolean;
  /** What was looked at, or what is wrong: a clause. */
  readonly text: string;
  readonly problems: readonly string[];
}

/** A head that a rank said it had. */
export interface ToldHead {
  readonly who: string;
  readonly slot: number;
  readonly head: string;
}

/** What a rank reported at its clean end. */
export interface FinalReport extends ToldHead {
  readonly stateRoot: string;
  readonly balanceTotal: number;
}

export interface AuditInput {
  readonly ledger: string;
  readonly journals: readonly Journal[];
  readonly heads: readonly ToldHead[];
  readonly reports: readonly FinalReport[];
  readonly losses: readonly Loss[];
  /** The job has ended: the log must end in a SEAL without members. */
  readonly ended: boolean;
}

export interface AuditReport {
  readonly good: boolean;
  readonly checks: readonly Check[];
  readonly counts: ToldCounts;
  readonly summary: LedgerSummary;
  readonly epochs: number;
  readonly notes: readonly string[];
}

/** Damages of the reader by the promise that they break; all others break S1. */
const BREAKS: readonly (readonly [RegExp, PromiseName])[] = [
  [/^(VOTE|YES|ANSWER|HASH|LOST|NOT_LOST|STORAGE_PUZZLE|SEAL)/, "S4"],
  [/^(SUPPLY|EFFECTS|STATE|SNAPSHOT|BALANCE)/, "S7"],
  [/^(HEIGHT|BLOCK|PROPOSAL|TRANSACTION|MERKLE|TREE)/, "S8"],
];
/** Records that came too late, as a paused writer's do: nobody has done wrong. */
const LATE: readonly string[] = ["EPOCH", "ROUNDS_GAP"];

export function audit(input: AuditInput): AuditReport {
  const told = new Told(input.journals);
  const report = readLedger(input.ledger, {
    onTransaction: (ids, at, outcome) => told.see(ids, at, outcome),
  });
  const chain = readChainFacts(input.ledger);
  const result = told.report(agreedAtRisk(chain.epochs, input.losses));
  const checks = [
    checkChain(report),
    checkHeads(input, chain),
    checkFinal(result),
    checkVotes(report),
    checkEvidence(report),
    checkOnce(result),
    checkState(input, report),
    checkHeights(report),
    checkAgreed(result),
    ...(input.ended ? [checkEnd(report.summary)] : []),
  ];
  return {
    good: checks.every(({ good }) => good),
    checks,
    counts: result.counts,
    summary: report.summary,
    epochs: chain.epochs.length,
    notes: notesOf(input, report, result),
  };
}

function check(promise: PromiseName, text: string, problems: readonly string[]): Check {
  return { promise, good: problems.length === 0, text, problems };
}

function damagesOf(report: LedgerReport, promise: PromiseName): string[] {
  const isMeant = ({ code }: DamageFacts) =>
    (BREAKS.find(([pattern]) => pattern.test(code))?.[1] ?? "S1") === promise;
  return report.damages.filter(isMeant).map(describeDamage);
}

function checkChain(report: LedgerReport): Check {
  const { slots, epochs } = report.summary;
  const text = `one record for each of ${groups(slots)} slots, ${epochs} epochs`;
  return check("S1", text, damagesOf(report, "S1"));
}

/** Every head and every stamp that a rank gave away lies on the chain. */
function checkHeads({ heads, reports, journals }: AuditInput, chain: ChainFacts): Check {
  const problems: string[] = [];
  for (const { who, slot, head } of [...heads, ...reports]) {
    const found = chain.hashes[slot];
    if (found === head) continue;
    problems.push(
      `${who} had head ${head} at slot ${slot}; the log has ${found ?? "no such slot"}`,
    );
  }
  const reads = journals.flatMap((journal) => journal.reads);
  for (const read of reads) {
    const problem = stampProblem(read, chain);
    if (problem !== undefined) problems.push(problem);
  }
  const told = heads.length + reports.length;
  const text = `${groups(told)} heads and ${groups(reads.length)} stamps of ranks lie on the chain`;
  return check("S2", text, limited(problems));
}

function stampProblem({ epoch, slot, time }: ReadStamp, chain: ChainFacts): string | undefined {
  if (chain.hashes[slot] === undefined) {
    return `a rank stamped slot ${slot} at ${new Date(time).toISOString()}, which the log does not have`;
  }
  const inForce = chain.epochs.findLast((each) => each.slot <= slot);
  if (inForce?.hash === epoch) return undefined;
  return `a rank stamped slot ${slot} with epoch ${epoch}; the log has ${inForce?.hash} there`;
}

function checkFinal({ counts, lostFinal, contradicted }: ToldReport): Check {
  const problems = [
    ...found(lostFinal, "told final and are not in the log so"),
    ...found(contradicted, "were told two things"),
  ];
  return check("S3", `all ${groups(counts.final)} told final are in the log, as told`, problems);
}

function checkVotes(report: LedgerReport): Check {
  const wrong = report.warnings.filter(
    (warning) => !LATE.includes(warning.code) && !isEvidence(warning),
  );
  const problems = [...damagesOf(report, "S4"), ...wrong.map(describeWarning)];
  const kinds = Object.entries(report.summary.records).map(([kind, count]) => `${count} ${kind}`);
  return check("S4", `votes, puzzles and answers of ${kinds.join(", ")}`, limited(problems));
}

/** Nobody lies here: two statements of one rank that contradict each other are a bug. */
function checkEvidence(report: LedgerReport): Check {
  const problems = report.convictions.map(describeConviction);
  for (const warning of report.warnings) {
    if (isEvidence(warning)) problems.push(describeWarning(warning));
  }
  return check("S5", "no evidence of a second vote or proposal", limited(problems));
}

const isEvidence = ({ file }: Warning) => file.startsWith("evidence/");

function checkOnce({ counts, doubled, foreign }: ToldReport): Check {
  const problems = [
    ...found(doubled, "took effect more than once"),
    ...found(foreign, "are in the log and were sent by no client"),
  ];
  return check("S6", `${groups(counts.logged)} transactions in the log, each once`, problems);
}

function checkState({ reports }: AuditInput, report: LedgerReport): Check {
  const problems = damagesOf(report, "S7");
  const { summary } = report;
  for (const { who, slot, stateRoot, balanceTotal } of reports) {
    // Only whoever came to the end of the log can be compared with its end.
    if (slot !== summary.slots - 1) continue;
    if (summary.stateRoot !== "" && stateRoot !== summary.stateRoot) {
      problems.push(`${who} has state root ${stateRoot}, a second execution ${summary.stateRoot}`);
    }
    if (balanceTotal !== summary.supply) {
      problems.push(`${who} has ${balanceTotal} in its accounts, of a supply of ${summary.supply}`);
    }
  }
  const text = `balances add up to ${groups(summary.supply)}, effects and state roots agree`;
  return check("S7", text, problems);
}

function checkHeights(report: LedgerReport): Check {
  const text = `${groups(report.summary.blocks)} blocks, heights without a gap`;
  return check("S8", text, damagesOf(report, "S8"));
}

function checkAgreed({ counts, lostAgreed, excusedAgreed }: ToldReport): Check {
  const excused =
    excusedAgreed.count > 0
      ? `, but for ${groups(excusedAgreed.count)} that died with R members`
      : "";
  const text = `all ${groups(counts.agreed)} told agreed are in the log${excused}`;
  return check("S11", text, found(lostAgreed, "told agreed are not in the log"));
}

function checkEnd({ members, slots }: LedgerSummary): Check {
  const problem = `the log ends at slot ${slots - 1} with ${members.length} members: no clean stop`;
  return check("END", "a SEAL without members closes the log", members.length > 0 ? [problem] : []);
}

function found(finding: Finding, what: string): string[] {
  if (finding.count === 0) return [];
  return [`${groups(finding.count)} transactions ${what}: ${finding.examples.join("; ")}`];
}

const PROBLEMS_MAX = 10;

function limited(problems: readonly string[]): string[] {
  if (problems.length <= PROBLEMS_MAX) return [...problems];
  return [
    ...problems.slice(0, PROBLEMS_MAX),
    `and ${problems.length - PROBLEMS_MAX} more like these`,
  ];
}

function notesOf({ journals }: AuditInput, report: LedgerReport, told: ToldReport): string[] {
  const { unknown, unknownInLog } = told.counts;
  const notes = [...report.notes];
  for (const warning of report.warnings) {
    if (LATE.includes(warning.code)) notes.push(describeWarning(warning));
  }
  if (unknown > 0) {
    notes.push(
      `${groups(unknown)} transactions had no last word; ${groups(unknownInLog)} of them are in the log`,
    );
  }
  for (const { path, rest } of journals) {
    if (rest > 0) notes.push(`${path} ends in ${rest} bytes of an unfinished entry`);
  }
  return notes;
}
