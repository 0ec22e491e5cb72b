/** One run of native/ceiling under mpirun: transactions a second. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BaashError, configurationError, EXIT } from "../../base/errors.ts";
import { launchCommand, launchEnvironment } from "../../supervisor/launch.ts";
import { findDisk } from "../ycsb/places.ts";

const PROGRAM = join(import.meta.dir, "../../../native/build/ceiling");

export interface CeilingOptions {
  readonly ranks: number;
  readonly txnBytes: number;
  readonly blockTransactions: number;
  readonly blocksPerRound: number;
  readonly difficulty: number;
  readonly seconds: number;
}

/** Throws CEILING_MISSING (exit 78) or CEILING_FAILED (exit 1). */
export async function runCeiling(options: CeilingOptions): Promise<number> {
  if (!existsSync(PROGRAM)) {
    throw configurationError("CEILING_MISSING", `${PROGRAM} is not built: run scripts/setup.`);
  }
  const directory = mkdtempSync(join(await findDisk(false), "baash-ceiling-"));
  try {
    const command = [
      ...launchCommand(options),
      PROGRAM,
      ...["--txn-bytes", String(options.txnBytes)],
      ...["--block-txns", String(options.blockTransactions)],
      ...["--blocks-per-round", String(options.blocksPerRound)],
      ...["--bits", String(options.difficulty)],
      ...["--seconds", String(options.seconds)],
      ...["--dir", directory, "--json"],
    ];
    const child = Bun.spawn(command, {
      env: launchEnvironment(options),
      stdin: "ignore",
      stderr: "inherit",
    });
    const text = await new Response(child.stdout).text();
    const code = await child.exited;
    const line = text.split("\n").find((each) => each.startsWith("{"));
    if (line !== undefined) return JSON.parse(line).txnsPerSecond;
    throw new BaashError("CEILING_FAILED", `The ceiling ended with ${code} and no result.`, {
      exitCode: EXIT.failed,
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
