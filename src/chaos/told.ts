/**
 * What clients were told of their transactions, held against what the log says of them. Pure; fed with
 * the journals first, then with each transaction of the log in order of execution.
 */
import { toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { OUTCOME, outcomeName } from "../ledger/receipt.ts";
import { SUBMIT } from "../ledger/service.ts";
import type { Journal, Submission } from "./journal.ts";

const EXAMPLES_MAX = 5;

/** Ran, even if its operation came to nothing: once in all time. */
const EXECUTED: readonly number[] = [OUTCOME.OK, OUTCOME.OVERDRAFT, OUTCOME.NO_SUCH_KEY];
/** Said of a transaction that is not in the log, or did not run where it is. */
const NEVER_TAKEN: readonly number[] = [SUBMIT.MALFORMED, SUBMIT.WRONG_CHAIN];

/** Transactions that break one promise. */
export class Finding {
  count = 0;
  readonly examples: string[] = [];

  add(example: () => string): void {
    if (this.count++ < EXAMPLES_MAX) this.examples.push(example());
  }
}

/** One transaction of the log; what it was first, and how often it ran. */
interface Logged {
  readonly submission: Submission | undefined;
  first: number;
  executed: number;
}

export interface ToldCounts {
  submitted: number;
  agreed: number;
  final: number;
  refused: number;
  /** Without a last word: they may be in the log or not. */
  unknown: number;
  /** Of those, how many are in the log. */
  unknownInLog: number;
  logged: number;
}

export interface ToldReport {
  readonly counts: ToldCounts;
  /** S3: told final, and not in the log with that outcome. */
  readonly lostFinal: Finding;
  /** S3: two last words that differ, or told that it never ran although it did. */
  readonly contradicted: Finding;
  /** S6: ran more than once. */
  readonly doubled: Finding;
  /** S6: in the log, and sent by nobody. */
  readonly foreign: Finding;
  /** S11: told agreed, and not in the log, though it had to be. */
  readonly lostAgreed: Finding;
  /** The same, where so many members were lost that it may be. */
  readonly excusedAgreed: Finding;
}

export class Told {
  private readonly logged = new Map<string, Logged>();
  private readonly submissions: Submission[] = [];
  private readonly ids: string[] = [];

  constructor(journals: readonly Journal[]) {
    for (const { submissions } of journals) {
      for (const submission of submissions) {
        const id = idOf(submission.bytes);
        this.submissions.push(submission);
        this.ids.push(id);
        this.logged.set(id, { submission, first: -1, executed: 0 });
      }
    }
  }

  /** Takes what the independent reader's `onTransaction` gives. */
  see(ids: Uint8Array, at: number, outcome: number): void {
    const id = idText(ids, at);
    let logged = this.logged.get(id);
    if (logged === undefined) {
      this.logged.set(id, (logged = { submission: undefined, first: -1, executed: 0 }));
    }
    // A duplicate has the receipt of the first.
    if (logged.first < 0 && outcome !== OUTCOME.DUPLICATE) logged.first = outcome;
    if (EXECUTED.includes(outcome)) logged.executed++;
  }

  /** `mayLose`: whether something that was agreed at that time may be lost with the members that were. */
  report(mayLose: (agreedAt: number) => boolean): ToldReport {
    const report: ToldReport = {
      counts: {
        ...{ submitted: this.submissions.length, agreed: 0, final: 0, refused: 0 },
        ...{ unknown: 0, unknownInLog: 0, logged: 0 },
      },
      lostFinal: new Finding(),
      contradicted: new Finding(),
      doubled: new Finding(),
      foreign: new Finding(),
      lostAgreed: new Finding(),
      excusedAgreed: new Finding(),
    };
    for (const [i, submission] of this.submissions.entries()) {
      this.judge(submission, this.ids[i], report, mayLose);
    }
    for (const [id, { submission, first, executed }] of this.logged) {
      if (first >= 0) report.counts.logged++;
      if (executed > 1) report.doubled.add(() => `${hex(id)} ran ${executed} times`);
      if (submission === undefined) report.foreign.add(() => hex(id));
    }
    return report;
  }

  private judge(
    submission: Submission,
    id: string,
    report: ToldReport,
    mayLose: (agreedAt: number) => boolean,
  ): void {
    const { first, executed } = this.logged.get(id)!;
    const { agreed, final, refused, outcome, status, contradictions } = submission;
    const { counts } = report;
    const isFinal = !Number.isNaN(final);
    if (!Number.isNaN(agreed)) counts.agreed++;
    if (isFinal) counts.final++;
    if (!Number.isNaN(refused)) counts.refused++;
    if (!isFinal && Number.isNaN(refused)) {
      counts.unknown++;
      if (first >= 0) counts.unknownInLog++;
    }
    if (isFinal && EXECUTED.includes(outcome) && first !== outcome) {
      const found = first < 0 ? "not in the log" : `in the log as ${outcomeName(first)}`;
      report.lostFinal.add(() => `${hex(id)} told ${outcomeName(outcome)}, ${found}`);
    }
    if (isFinal && !EXECUTED.includes(outcome) && executed > 0) {
      report.contradicted.add(() => `${hex(id)} told ${outcomeName(outcome)}, and it ran`);
    }
    if (NEVER_TAKEN.includes(status) && first >= 0) {
      report.contradicted.add(() => `${hex(id)} was refused for good, and is in the log`);
    }
    for (const other of contradictions) {
      const words = `${outcomeName(outcome)}, then ${outcomeName(other)}`;
      report.contradicted.add(() => `${hex(id)} told ${words}`);
    }
    // What was told final as well has been counted above.
    const isCounted = isFinal && EXECUTED.includes(outcome);
    if (!Number.isNaN(agreed) && first < 0 && !isCounted) {
      const finding = mayLose(agreed) ? report.excusedAgreed : report.lostAgreed;
      finding.add(() => `${hex(id)} told agreed at ${new Date(agreed).toISOString()}`);
    }
  }
}

/** As the specification has it, from the bytes that the client sent (RFC 9162 leaf hash). */
function idOf(bytes: Uint8Array): string {
  const id = new Uint8Array(32);
  kernels.leafHashes(bytes, Uint32Array.of(0, bytes.length), 1, id, 0);
  return idText(id, 0);
}

/** One character a byte: the cheapest key of a Map. */
function idText(ids: Uint8Array, at: number): string {
  return Buffer.from(ids.buffer, ids.byteOffset + at, 32).toString("latin1");
}

function hex(id: string): string {
  return toHex(Buffer.from(id, "latin1"));
}
