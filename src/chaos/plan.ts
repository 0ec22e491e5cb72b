/**
 * What one chaos run does: the job, its load, and what happens to it when. A plan is plain JSON, so
 * that any run can be run again exactly; flags, seeds and tables only make plans.
 *
 * Ranks are named by *places*: place k is the k-th of the ranks that live at that moment, by process
 * number, counted modulo how many there are. So a plan means something also after ranks were replaced.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { BaashError, EXIT, errorCode, usageError } from "../base/errors.ts";
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { CALL_NAMES, type StorageRule } from "./storage-control.ts";

/** Seconds since the load began. */
const seconds = z.number().min(0).max(86_400);
const duration = z.number().positive().max(86_400);
const places = z.array(z.number().int().min(0)).min(1);

/** Ways in which storage fails, by the name that people know them by. */
export const STORAGE_FAULTS = {
  /** Every change takes `delayMs` longer. */
  slow: { calls: ["create", "write", "fsync", "link"] },
  /** No space: files that are open already cannot grow either. */
  full: { calls: ["create", "write"], error: "ENOSPC" },
  "eio-write": { calls: ["write"], error: "EIO" },
  "eio-sync-file": { calls: ["fsync"], error: "EIO", on: "files" },
  "eio-sync-directory": { calls: ["fsync"], error: "EIO", on: "directories" },
  /** As a parallel file system answers that has lost its own quorum. */
  stale: { calls: CALL_NAMES, error: "ESTALE" },
  /** As if the directory were no longer there. */
  gone: { calls: CALL_NAMES, error: "ENOENT" },
} as const satisfies Record<string, StorageRule>;
export type StorageFaultName = keyof typeof STORAGE_FAULTS;
export const STORAGE_FAULT_NAMES = Object.keys(STORAGE_FAULTS) as StorageFaultName[];

const kill = z.strictObject({ do: z.literal("kill"), at: seconds, places });
const stop = z.strictObject({ do: z.literal("stop"), at: seconds, for: duration, places });
const storage = z.strictObject({
  do: z.literal("storage"),
  at: seconds,
  for: duration,
  fault: z.enum(STORAGE_FAULT_NAMES),
  /** Share of the calls that it strikes. */
  rate: z.number().positive().max(1).default(1),
  delayMs: z.number().int().min(0).max(600_000).default(0),
  /** Without them every rank, also those that come later. */
  places: places.optional(),
});
/** SIGKILL for every rank and its launcher; with `supervisor` for that too. */
const killJob = z.strictObject({
  do: z.literal("kill-job"),
  at: seconds,
  supervisor: z.boolean().default(false),
});
/** A clean stop, and the next job on the same ledger. */
const restart = z.strictObject({ do: z.literal("restart"), at: seconds });
/** Another job on the ledger while the first is alive, frozen for `for` seconds, or dead. */
const secondJob = z.strictObject({
  do: z.literal("second-job"),
  at: seconds,
  first: z.enum(["alive", "frozen", "dead"]),
  ranks: z.number().int().min(1).max(64).default(2),
  for: duration.default(20),
});

const eventSchema = z.discriminatedUnion("do", [kill, stop, storage, killJob, restart, secondJob]);
export type ChaosEvent = z.infer<typeof eventSchema>;
export type EventKind = ChaosEvent["do"];

const loadSchema = z.strictObject({
  kind: z.enum(["transfers", "updates"]).default("transfers"),
  /** Transactions offered a second, all clients together, whatever the ledger does. */
  rate: z.number().positive().max(1e6).default(400),
  /** Connections; each begins at another rank. Default: one a rank. */
  clients: z.number().int().min(1).max(1024).optional(),
  /** Accounts of transfers, records of updates. */
  size: z.number().int().min(2).max(10_000_000).default(1000),
  validityRounds: z
    .number()
    .int()
    .min(16)
    .max(VALIDITY_ROUNDS_MAX / 2)
    .default(32_768),
});

const jobSchema = z.strictObject({
  /** `baash run`, which restarts a job that dies, or mpirun alone. */
  supervised: z.boolean().default(true),
  /** More flags of src/rank.ts, one text each. */
  flags: z.array(z.string()).default([]),
  /** BAASH_FAULT of the ranks: how they fail by themselves. */
  fault: z.string().min(1).optional(),
});

export const planSchema = z.strictObject({
  version: z.literal(1),
  /** Of the draw that made this plan, if one did; also of the load's own draws. */
  seed: z.number().int().min(0).default(1),
  ranks: z.number().int().min(1).max(1024),
  /** How long the load is offered. */
  seconds: duration,
  load: loadSchema.prefault({}),
  job: jobSchema.prefault({}),
  events: z.array(eventSchema).default([]),
});
export type Plan = z.infer<typeof planSchema>;

/** Checks a plan from anywhere. Throws PLAN (exit 2), which names the place that is wrong. */
export function parsePlan(value: unknown, where: string): Plan {
  const parsed = planSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const at = issue.path.length === 0 ? "the plan" : issue.path.join(".");
    throw usageError("PLAN", `${where}: ${at}: ${issue.message}; see src/chaos/README.md`);
  }
  const plan = parsed.data;
  const late = plan.events.find(({ at }) => at >= plan.seconds);
  if (late !== undefined) {
    throw usageError(
      "PLAN",
      `${where}: "${late.do}" at ${late.at} s comes after the load, which ends at ${plan.seconds} s`,
    );
  }
  return { ...plan, events: plan.events.toSorted((a, b) => a.at - b.at) };
}

/** Throws PLAN (exit 2) or PLAN_FILE (exit 74). */
export function readPlan(path: string): Plan {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new BaashError("PLAN_FILE", `The plan ${path} cannot be read (${errorCode(cause)}).`, {
      exitCode: EXIT.io,
      cause,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usageError("PLAN", `${path} is no JSON: ${(error as Error).message}`);
  }
  return parsePlan(value, path);
}

/** When an event's fault is over, on the load's clock. */
export function endOf(event: ChaosEvent): number {
  return "for" in event ? event.at + event.for : event.at;
}

/** The rules of the library for LD_PRELOAD that make a storage event. */
export function storageRules(
  event: Extract<ChaosEvent, { do: "storage" }>,
  pids: readonly number[] | undefined,
): StorageRule[] {
  const { fault, rate, delayMs } = event;
  return [{ ...STORAGE_FAULTS[fault], rate, delayMs, ...(pids && { pids }) }];
}

/** One event for people: "kill 2 ranks", "storage gone for 5 s". */
export function describeEvent(event: ChaosEvent): string {
  const count = (list: readonly number[]) => `${list.length} rank${list.length === 1 ? "" : "s"}`;
  switch (event.do) {
    case "kill":
      return `SIGKILL for ${count(event.places)}`;
    case "stop":
      return `SIGSTOP for ${count(event.places)}, for ${event.for} s`;
    case "storage": {
      const { fault, rate, delayMs } = event;
      const share = rate < 1 ? ` in ${(100 * rate).toFixed(0)} % of calls` : "";
      const delay = delayMs > 0 ? `, ${delayMs} ms a call` : "";
      const whom = event.places === undefined ? "" : `, for ${count(event.places)}`;
      return `storage ${fault}${share}${delay}${whom}, for ${event.for} s`;
    }
    case "kill-job":
      return `SIGKILL for the whole job${event.supervisor ? " and its supervisor" : ""}`;
    case "restart":
      return "a clean stop, and the next job";
    case "second-job": {
      const frozen = event.first === "frozen" ? ` for ${event.for} s` : "";
      return `a second job of ${event.ranks} ranks, the first ${event.first}${frozen}`;
    }
  }
}
