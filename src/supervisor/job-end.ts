/**
 * What the end of a job means: whether it was meant, and what its code is. Pure. The launcher's word
 * counts least, since Open MPI's mpirun answers 0 for a job that outlives its ranks; the most counts
 * what the ranks wrote into their status file, then their last words.
 */
import { EXIT, type ExitCode } from "../base/errors.ts";
import type { JobView } from "./job-status.ts";

/** What is left of a job that has ended. */
export interface JobEnd {
  readonly ranks: number;
  /** Its status said "running" at some time: members voted. */
  readonly served: boolean;
  /** As it was written last; undefined: none was seen. */
  readonly status: JobView | undefined;
  /** Exit codes that ranks told as their last words, in this order. */
  readonly words: readonly number[];
  /** The launcher's own end: one of them is null. */
  readonly launcher: { readonly code: number | null; readonly signal: string | null };
  /** What a rank said last to a person. */
  readonly sentence: string | undefined;
  /** How the launcher explained itself. */
  readonly launcherText: string | undefined;
}

export type Verdict =
  /** The ledger was closed with a SEAL without members. */
  | { readonly kind: "clean" }
  /** Would end so again: the command line, the configuration, or a bad result of finished work. */
  | { readonly kind: "final"; readonly exitCode: ExitCode; readonly why: string }
  /** Another job has the ledger. */
  | { readonly kind: "busy"; readonly why: string }
  /** A bug, an error of files, a service that was away, a signal. `told`: a rank said so itself. */
  | {
      readonly kind: "death";
      readonly exitCode: ExitCode;
      readonly why: string;
      readonly told: boolean;
    };

/** Of the codes that ranks of one job told, the first of these speaks for all. */
const WEIGHT: readonly number[] = [
  ...[EXIT.usage, EXIT.configuration, EXIT.busy, EXIT.io],
  ...[EXIT.software, EXIT.unavailable, EXIT.failed],
];

export function judgeEnd(end: JobEnd): Verdict {
  const { status, words, launcher } = end;
  if (status?.state === "stopped") return { kind: "clean" };
  if (status?.state === "failed" && status.reason !== undefined)
    return byCode(status.reason.exitCode, plain(status.reason.message), true);
  // A rank ends with 0 only after the SEAL that closes the ledger.
  if (words.includes(EXIT.ok)) return { kind: "clean" };
  // A rank that says less than all of them was one whose end the others outlived: a replacement that
  // could not start, a member that was sealed out. What ended the job is then not known by words.
  const all = words.length >= end.ranks || isNonZero(launcher.code);
  if (all && words.length > 0) {
    const code = end.served ? words.at(-1)! : heaviest(words);
    const isCommon = !end.served || words.every((word) => word === code);
    if (isCommon || isDeath(code)) return byCode(code, wordsOf(end), true);
  }
  // MPI_Abort lets nobody speak, and makes its code the launcher's.
  if (words.length === 0 && isOurs(launcher.code))
    return byCode(launcher.code!, wordsOf(end), true);
  const code = words.findLast(isDeath);
  return byCode(code ?? EXIT.unavailable, outsideOf(end), code !== undefined);
}

function byCode(code: number, why: string, told: boolean): Verdict {
  switch (code) {
    case EXIT.ok:
      return { kind: "clean" };
    case EXIT.failed:
    case EXIT.usage:
    case EXIT.configuration:
      return { kind: "final", exitCode: code, why };
    case EXIT.busy:
      return { kind: "busy", why };
    default:
      return { kind: "death", exitCode: isDeath(code) ? code : EXIT.unavailable, why, told };
  }
}

function isDeath(code: number): code is 69 | 70 | 74 {
  return code === EXIT.unavailable || code === EXIT.software || code === EXIT.io;
}

function isNonZero(code: number | null): boolean {
  return code !== null && code !== 0;
}

/** A code of sysexits(3), which launchers do not use for themselves; 1 and 2 they do. */
function isOurs(code: number | null): boolean {
  return code === EXIT.configuration || code === EXIT.busy || (code !== null && isDeath(code));
}

function heaviest(words: readonly number[]): number {
  return WEIGHT.find((code) => words.includes(code)) ?? words.at(-1)!;
}

/** Without the name of the error's class. */
function plain(message: string): string {
  return message.replace(/^[A-Za-z]*Error: /, "");
}

/** Why, in the ranks' own words. */
function wordsOf(end: JobEnd): string {
  return end.sentence ?? outsideOf(end);
}

/** Why, as seen from outside: what ranks said before need not be the reason. */
function outsideOf({ launcherText, launcher, served }: JobEnd): string {
  // A launcher explains why it could not start; later it speaks of much else.
  if (!served && launcher.signal === null && launcherText !== undefined) return launcherText;
  if (launcher.code === 0) return `all its ranks were killed${served ? "" : " before they served"}`;
  return `its launcher ended with ${launcher.signal ?? `code ${launcher.code}`}`;
}
