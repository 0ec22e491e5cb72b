#!/usr/bin/env bun
/**
 * Entry of the `baash` command. One file a subcommand in cli/, each of which exports a function that
 * builds it; add new ones to the list. Commands load what is heavy only when they run.
 */
import { Command } from "commander";
import { version } from "../package.json" with { type: "json" };
import { emulateCommand } from "./cli/emulate.ts";
import { infoCommand } from "./cli/info.ts";
import { keyCommand } from "./cli/key.ts";
import { EXIT_HELP, runProgram } from "./cli/run.ts";
import { runJobCommand } from "./cli/run-job.ts";
import { simulateCommand } from "./cli/simulate.ts";
import { validatorCommand } from "./cli/validator.ts";
import { verifyCommand } from "./cli/verify.ts";

const COMMANDS = [
  ...[runJobCommand, validatorCommand, verifyCommand, infoCommand, keyCommand],
  ...[simulateCommand, emulateCommand],
];

const program = new Command("baash")
  .description("a permissioned ledger for HPC clusters, kept on the parallel file system")
  .version(version, "--version", "print the version")
  .helpOption("-h, --help", "explain")
  .addHelpText(
    "after",
    `
Examples:
  baash run -n 4 -- --ledger /scratch/project/ledger     keep a job of ranks running
  baash verify /scratch/project/ledger     check a whole ledger
  baash info /scratch/project/ledger       what is in it, who are its members
  baash key /scratch/project/ledger        where its key has to be
  baash simulate --seeds 1000              seeded runs under faults, every promise checked
  baash emulate --ranks 100,1000,10000     how it would do at other sizes
${EXIT_HELP}`,
  );
for (const command of COMMANDS) program.addCommand(command());

process.exit(await runProgram(program, process.argv.slice(2)));
