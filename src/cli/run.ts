/**
 * Runs a commander program and turns what comes out into an exit code: help and version are 0, a
 * wrong command line is 2, a coded error its own code, anything else 70 (a bug of ours).
 */
import { type Command, CommanderError } from "commander";
import { BaashError, EXIT, exitCodeOf } from "../base/errors.ts";

/** mpirun ends all at the first one's bad end: by then the one that speaks has spoken. */
const SILENT_END_MS = 2000;

/**
 * Answers the exit code; the caller ends the process with it. `speaks` is false where another
 * process of the same command line says the same: help, and what is wrong with what was asked for.
 */
export async function runProgram(
  program: Command,
  args: readonly string[],
  { speaks = true }: { speaks?: boolean } = {},
): Promise<number> {
  prepare(program, speaks);
  process.exitCode = EXIT.ok;
  try {
    await program.parseAsync(args, { from: "user" });
    return Number(process.exitCode);
  } catch (error) {
    const exitCode = endOf(error);
    const isCommon = exitCode === EXIT.usage || exitCode === EXIT.configuration;
    if (speaks || !isCommon) explain(error);
    else await Bun.sleep(SILENT_END_MS);
    return exitCode;
  }
}

function endOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  return exitCodeOf(error);
}

function explain(error: unknown): void {
  // commander has said it.
  if (error instanceof CommanderError) return;
  if (error instanceof BaashError) {
    process.stderr.write(`baash: ${error.message}\n`);
  } else {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`baash: a bug of ours, please report it: ${text}\n`);
  }
}

/** Errors of the command line in our own words, for the program and all its commands. */
function prepare(command: Command, speaks: boolean): void {
  command.exitOverride();
  command.showHelpAfterError(false);
  command.configureOutput({
    ...(!speaks && { writeOut: () => {}, writeErr: () => {} }),
    outputError(text, write) {
      const what = text.replace(/^error: /, "").trimEnd();
      write(`baash: ${what}; see ${commandPath(command)} --help\n`);
    },
  });
  for (const sub of command.commands) prepare(sub, speaks);
}

function commandPath(command: Command): string {
  const parent = command.parent;
  return parent === null ? command.name() : `${commandPath(parent)} ${command.name()}`;
}

/** What a `--help` page says about exit codes; one place, so that all say the same. */
export const EXIT_HELP = `
Exit codes:
  0   good
  1   the work was done and its result is bad
  2   wrong command line
  69  a service that is needed did not answer
  70  a bug of ours
  74  a file could not be read or written
  75  the ledger is in use by another job
  78  not a ledger, or its configuration does not fit
`;
