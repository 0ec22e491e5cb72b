#!/usr/bin/env bun
/**
 * Entry of scripts/chaos: torments a real job and checks what it promised. Report on stdout, all else on
 * stderr. Exit code 0: every promise was kept; 1: one was broken.
 */
import { BaashError, EXIT } from "../base/errors.ts";
import { print, printJson } from "../cli/output.ts";
import { runProgram } from "../cli/run.ts";
import { chaosCommand, requestOf, type Task } from "./options.ts";
import { overheadCommand } from "./overhead-command.ts";
import type { RunReport } from "./run.ts";
import { tableCommand } from "./table-command.ts";

const program = chaosCommand().action(async (rankFlags: string[]) => {
  const request = requestOf(program.opts(), rankFlags);
  if (request.printPlan) {
    for (const { plan } of request.tasks) await printJson(plan);
    return;
  }
  // Loaded late: they need the native addon, and `--help` and bad input should not.
  const { runPlan } = await import("./run.ts");
  const { describeBrief, describeRun, problemsOf } = await import("./report.ts");
  const { quiet, keep, json, isBatch } = request;
  const run = ({ plan, command }: Task) => runPlan(plan, { command, quiet, keep });
  if (!isBatch) {
    const report = await run(request.tasks[0]);
    if (json) await printJson(report);
    else await print(describeRun(report));
    if (!report.good) process.exitCode = EXIT.failed;
    return;
  }
  const broken: number[] = [];
  const failed: number[] = [];
  for (const task of request.tasks) {
    const { seed } = task.plan;
    try {
      const report = await run(task);
      await print(json ? JSON.stringify(briefOf(report)) : describeBrief(report));
      if (report.good) continue;
      broken.push(seed);
      for (const problem of problemsOf(report)) process.stderr.write(`  ${problem}\n`);
    } catch (error) {
      // One run that could not be made does not cost the others.
      if (!(error instanceof BaashError) || error.code === "CHAOS_ABORTED") throw error;
      failed.push(seed);
      await print(`FAILED seed ${seed}: ${error.message}`);
    }
    process.stderr.write(`  again: ${task.command}\n`);
  }
  const { length } = request.tasks;
  const good = length - broken.length - failed.length;
  const words = [
    ...(broken.length > 0 ? [`broken: ${broken.join(", ")}`] : []),
    ...(failed.length > 0 ? [`not made: ${failed.join(", ")}`] : []),
  ];
  const verdict = words.length === 0 ? "every promise was kept" : `seeds ${words.join("; ")}`;
  process.stderr.write(`${length} runs, ${good} good: ${verdict}\n`);
  if (broken.length > 0) process.exitCode = EXIT.failed;
  else if (failed.length > 0) process.exitCode = EXIT.software;
});

// What stands behind a command is that command's.
program.enablePositionalOptions();
program.addCommand(overheadCommand()).addCommand(tableCommand());

/** Of a batch: what a table or a plot needs. */
function briefOf({ plan, command, good, figures, after, checks, kept }: RunReport) {
  const { before, after: rate, afterOfBefore, incidents } = figures;
  const broken = [...after.checks, ...checks].filter((check) => !check.good);
  const { counts } = after;
  const rates = { before: before.agreed, after: rate.agreed, afterOfBefore };
  return { seed: plan.seed, good, command, plan, counts, rates, incidents, broken, kept };
}

process.exit(await runProgram(program, process.argv.slice(2)));
