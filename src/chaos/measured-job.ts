/**
 * A job that makes its own load and measures it, to its end: for comparisons of settings, where clients
 * on the same machine would take what the ranks need.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { BaashError } from "../base/errors.ts";
import { findDisk } from "../cli/ycsb/places.ts";
import { launchCommand, launchEnvironment, RANK_PROGRAM } from "../supervisor/launch.ts";
import { MergedResult, type RankResult } from "../workload/measurements.ts";

export interface MeasuredSpec {
  readonly ranks: number;
  readonly seconds: number;
  /** More flags of the ranks. */
  readonly flags: readonly string[];
  /** Of the workload, name=value. */
  readonly properties: readonly string[];
}

export interface Measured {
  readonly transactionsPerSecond: number;
  readonly agreedMs: { readonly p50: number; readonly p99: number };
  readonly finalMs: { readonly p50: number; readonly p99: number };
}

const resultSchema = z.object({ ranks: z.array(z.object({ phases: z.array(z.unknown()) })) });

/** Throws MEASURED_JOB (exit 70) when it left no result. */
export async function measureJob(spec: MeasuredSpec): Promise<Measured> {
  const root = mkdtempSync(join(await findDisk(false), "baash-measured-"));
  try {
    const results = join(root, "result.json");
    const properties = [`maxexecutiontime=${spec.seconds}`, "operationcount=0", ...spec.properties];
    const args = [
      ...["--ledger", join(root, "ledger"), "--ledger-key", join(root, "ledger-key.pem")],
      ...["--results", results, ...spec.flags],
      ...properties.flatMap((property) => ["-p", property]),
    ];
    const launch = { ranks: spec.ranks };
    const child = Bun.spawn([...launchCommand(launch), process.execPath, RANK_PROGRAM, ...args], {
      env: launchEnvironment(launch),
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const words: string[] = [];
    const told = new Response(child.stderr).text().then((text) => void words.push(text.trim()));
    await Promise.all([child.exited, told]);
    const file = Bun.file(results);
    if (!(await file.exists())) {
      const why = words.join("; ").split("\n").at(-1);
      throw new BaashError("MEASURED_JOB", `A job that was to be measured left no result: ${why}`);
    }
    return measuredOf(await file.json());
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function measuredOf(result: unknown): Measured {
  const { ranks } = resultSchema.parse(result);
  const phases = ranks.flatMap((rank) => rank.phases as RankResult[]);
  const merged = MergedResult.of(phases.filter(({ phase }) => phase === "run"));
  const at = (level: string) => {
    const histogram = merged.allAt(level);
    const percentile = (share: number) => (histogram?.getValueAtPercentile(share) ?? 0) / 1000;
    return { p50: percentile(50), p99: percentile(99) };
  };
  return {
    transactionsPerSecond: merged.counters.transactions / (merged.durationMs / 1000),
    agreedMs: at("agreed"),
    finalMs: at("final"),
  };
}
