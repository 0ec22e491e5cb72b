#!/usr/bin/env bun
/**
 * Entry of scripts/ycsb-load, the main job: starts a ledger of MPI ranks, drives it with a YCSB
 * workload, prints what was measured and proves it. Report on stdout, all else on stderr.
 */
import { EXIT } from "../base/errors.ts";
import { print } from "./output.ts";
import { runProgram } from "./run.ts";
import { loadCommand, normalizeArguments, planLoad } from "./ycsb/options.ts";
import type { Proof } from "./ycsb/proof.ts";

const program = loadCommand().action(async (phase: string | undefined) => {
  const plan = await planLoad(phase, program.opts());
  // Loaded late: they need the native addon, and `--help` and bad input should not.
  const { runLoad } = await import("./ycsb/run.ts");
  const { describeOutcome, writeFiles } = await import("./ycsb/report.ts");
  const outcome = await runLoad(plan);
  await print(describeOutcome(plan, outcome));
  const verdict = describeProof(outcome.proof);
  if (plan.output === "json") process.stderr.write(verdict);
  else await print(verdict);
  if (!outcome.proof.verified) process.exitCode = EXIT.failed;
  await writeFiles(plan, outcome);
});

function describeProof({ verified, checked, problems, notes }: Proof): string {
  const lines = notes.map((note) => `note: ${note}\n`);
  for (const problem of problems) lines.push(`missing: ${problem}\n`);
  const found = checked.join("; ");
  lines.push(verified ? `verified: ${found}\n` : `NOT VERIFIED; good: ${found || "nothing"}\n`);
  return lines.join("");
}

process.exit(await runProgram(program, normalizeArguments(process.argv.slice(2))));
