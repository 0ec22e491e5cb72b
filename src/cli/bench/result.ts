/** The JSON of a benchmark: one shape, of which README.md tells; its version counts up when it changes. */
import { z } from "zod";
import { BaashError, EXIT, errorCode, usageError } from "../../base/errors.ts";
import { PARTS } from "./setting.ts";
import type { Spread } from "./statistics.ts";

export const FORMAT = "baash-bench";
export const VERSION = 1;

const spread = z.object({
  unit: z.string(),
  min: z.number(),
  median: z.number(),
  max: z.number(),
  runs: z.array(z.number()),
});

const point = z.object({
  parameters: z.record(z.string(), z.union([z.string(), z.number()])),
  verified: z.boolean(),
  problems: z.array(z.string()),
  metrics: z.record(z.string(), spread),
  /** With --breakdown. */
  breakdown: z.record(z.string(), spread).optional(),
});

const schema = z.object({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  facts: z.object({
    host: z.string(),
    cores: z.number(),
    processor: z.string(),
    fileSystem: z.string(),
    commit: z.string(),
    date: z.string(),
    command: z.string(),
    /** Of each point. */
    runs: z.number(),
    quick: z.boolean(),
  }),
  verified: z.boolean(),
  interrupted: z.boolean(),
  suites: z.array(
    z.object({
      name: z.string(),
      about: z.string(),
      /** The part of `parameters` that is varied. */
      axis: z.enum(PARTS),
      /** Why its figures have no ceiling beside them. */
      noCeiling: z.string().optional(),
      points: z.array(point),
    }),
  ),
});

export type BenchResult = z.infer<typeof schema>;
export type BenchFacts = BenchResult["facts"];
export type SuiteResult = BenchResult["suites"][number];
export type PointResult = SuiteResult["points"][number];
export type MetricResult = Spread & { readonly unit: string };

/** Throws BENCH_UNREADABLE (exit 74) or, where it is something else, BAD_BENCH (exit 2). */
export async function readResult(path: string): Promise<BenchResult> {
  let text: string;
  try {
    text = await Bun.file(path).text();
  } catch (cause) {
    const message = `${path} cannot be read (${errorCode(cause)}): name a file that scripts/bench --out has written.`;
    throw new BaashError("BENCH_UNREADABLE", message, { exitCode: EXIT.io, cause });
  }
  const problem = (what: string) =>
    usageError("BAD_BENCH", `${path} is no benchmark of version ${VERSION}: ${what}.`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw problem("it is not JSON");
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [{ path: at, message }] = parsed.error.issues;
  throw problem(`${at.join(".")}: ${message}`);
}

/** Throws BENCH_UNWRITABLE (exit 74). */
export async function writeText(path: string, text: string): Promise<void> {
  try {
    await Bun.write(path, text);
  } catch (cause) {
    const message = `${path} cannot be written (${errorCode(cause)}): name another file.`;
    throw new BaashError("BENCH_UNWRITABLE", message, { exitCode: EXIT.io, cause });
  }
}
