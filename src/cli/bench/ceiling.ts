/** One run of native/ceiling under mpirun: transactions a second. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BaashError, configurationError, EXIT } from "../../base/errors.ts";
import { FIELD_HEADER_BYTES, TXN_HEADER_BYTES } from "../../ledger/transaction.ts";
import { launchCommand, launchEnvironment } from "../../supervisor/launch.ts";
import type { MergedUsage } from "../../workload/usage.ts";
import { findDisk } from "../ycsb/places.ts";
import type { Setting } from "./setting.ts";

const PROGRAM = join(import.meta.dir, "../../../native/build/ceiling");
/** "user" and the 19 digits that most hashes have. */
const KEY_BYTES = 23;
const FIELD_NAME = "field0";
/** Blocks of a rank and round that the program takes at most. */
const BLOCKS_MAX = 4096;

/** Its transactions are updates of one value: there is one for loads of which at least half are. */
export function hasCeiling({ workload, offered, blocks }: Setting): boolean {
  const updates = ["updates", "workloada", "workloadf"];
  return updates.includes(workload) && offered === 0 && blocks === 0;
}

/** With rounds as large as the ledger's were on average. */
export function ceilingArguments(setting: Setting, usage: MergedUsage): string[] {
  const { ranks, blockTransactions, valueBytes, difficulty, seconds, sync } = setting;
  const txnBytes =
    TXN_HEADER_BYTES + KEY_BYTES + FIELD_HEADER_BYTES + FIELD_NAME.length + valueBytes;
  const rounds = Math.max(1, usage.rounds);
  const perRound = Math.round(usage.transactions / blockTransactions / rounds / ranks);
  return [
    ...["--txn-bytes", String(txnBytes), "--value-bytes", String(valueBytes)],
    ...["--block-txns", String(blockTransactions)],
    ...["--blocks-per-round", String(Math.min(BLOCKS_MAX, Math.max(1, perRound)))],
    ...["--bits", String(difficulty), "--seconds", String(seconds)],
    ...(sync === "off" ? ["--no-sync"] : []),
  ];
}

/** Throws CEILING_MISSING (exit 78) or CEILING_FAILED (exit 1). */
export async function runCeiling(setting: Setting, usage: MergedUsage): Promise<number> {
  if (!existsSync(PROGRAM)) {
    throw configurationError("CEILING_MISSING", `${PROGRAM} is not built: run scripts/setup.`);
  }
  const directory = mkdtempSync(join(await findDisk(false), "baash-ceiling-"));
  try {
    const args = [...ceilingArguments(setting, usage), "--dir", directory, "--json"];
    const child = Bun.spawn([...launchCommand(setting), PROGRAM, ...args], {
      env: launchEnvironment(setting),
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
