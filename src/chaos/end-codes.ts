/**
 * With which codes ranks ended by themselves, by their last words (supervisor/last-words.ts), and which of
 * these are no wonder under a plan. A rank that runs into a bug must not pass for a fault that was survived.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../base/errors.ts";
import { parseLastWords } from "../supervisor/last-words.ts";
import type { Plan } from "./plan.ts";

/** Of the jobs in these run directories, in the order of their words. */
export function readEndCodes(runs: readonly string[]): number[] {
  return runs.flatMap((run) => {
    try {
      return endCodesOf(readFileSync(join(run, "job.err"), "utf8"));
    } catch {
      return []; // of a job without a supervisor, or that was never started
    }
  });
}

export function endCodesOf(text: string): number[] {
  return text.split("\n").flatMap((line) => parseLastWords(line) ?? []);
}

/** What makes a rank end with a code: a sentence for each code that nothing in the plan explains. */
export function unexplainedEnds(codes: readonly number[], plan: Plan): string[] {
  const has = (kind: string) => plan.events.some((event) => event.do === kind);
  const explained = new Set<number>([EXIT.ok]);
  // Sealed out while it slept, or found that another job has the ledger.
  if (has("stop") || has("second-job") || has("kill-job") || has("storage")) {
    explained.add(EXIT.busy);
  }
  // A host that cannot sync what it wrote stops; so does a job without storage and majority, and a
  // replacement that finds no ledger where there is one.
  if (has("storage")) {
    for (const code of [EXIT.io, EXIT.unavailable, EXIT.configuration]) explained.add(code);
  }
  if (plan.job.fault?.startsWith("exit@")) explained.add(EXIT.software);
  const counts = new Map<number, number>();
  for (const code of codes) {
    if (!explained.has(code)) counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  return [...counts].map(
    ([code, count]) =>
      `${count} rank${count === 1 ? "" : "s"} ended with code ${code}${code === EXIT.software ? ", a bug of ours" : ""}`,
  );
}
