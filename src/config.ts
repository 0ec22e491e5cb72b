/**
 * Configuration of a rank: flags and environment, parsed once, checked by one schema, frozen and
 * passed down. Nothing below reads process.env or process.argv.
 */
import { z } from "zod";
import { usageError } from "./base/errors.ts";
import { BLOCK_TXNS_MAX, MEMBERS_MAX, PUZZLE_BITS_MAX } from "./limits.ts";

const count = (min: number, max: number) => z.coerce.number().int().min(min).max(max);

const fields = z.object({
  ledger: z.string().min(1),
  ledgerKey: z.string().min(1).optional(),
  /** False: final means linked, and a loss of power may take it. To measure what syncing costs. */
  sync: z.boolean().default(true),
  /** Socket of the storage validator, where there is one. */
  validator: z.string().min(1).optional(),
  force: z.boolean().default(false),
  /** False: the ledger must be there already; a directory without one is a mistake or a loss. */
  create: z.boolean().default(true),
  /** Of a new ledger; an existing one keeps its own. */
  quorum: z.enum(["majority", "byzantine"]).default("majority"),
  difficulty: count(0, PUZZLE_BITS_MAX).default(8),
  storageDifficulty: count(0, PUZZLE_BITS_MAX).default(16),
  supply: count(0, Number.MAX_SAFE_INTEGER).default(1_000_000_000),
  blockTransactions: count(1, BLOCK_TXNS_MAX).default(1000),
  breakdown: z.boolean().default(false),
  blockDelayMs: count(0, 60_000).default(5),
  roundIntervalMs: count(0, 60_000).default(0),
  pipelineDepth: count(1, 16).default(2),
  transactionWorkers: count(0, 1).optional(),
  blockWorkers: count(0, 64).optional(),
  inlineTransactions: count(0, 1_000_000).optional(),
  takeoverMs: count(100, 600_000).default(5000),
  /** When rounds go to the storage validator (HyBE, step 8). */
  storageOn: z.enum(["alert", "no-majority", "always"]).default("alert"),
  /** From so many members on proposals go by collective, if they are no longer than … */
  gatherFrom: count(2, MEMBERS_MAX).default(65),
  gatherBytes: count(256, 1 << 20).default(2048),
  heal: z.enum(["off", "spawn"]).default("off"),
  healAfterMs: count(0, 86_400_000).default(60_000),
  propagate: z.enum(["off", "backup", "all"]).default("off"),
  heartbeatMs: count(10, 60_000).default(100),
  suspectMs: count(50, 600_000).default(1000),
  evictMs: count(100, 3_600_000).default(3000),
  checkpointRecords: count(1, 1_000_000).default(8192),
  sockets: z.string().min(1).optional(),
  properties: z.array(z.string()).default([]),
  property: z.array(z.string()).default([]),
  phase: z.enum(["load", "run", "all"]).default("all"),
  generate: z.boolean().default(true),
  journal: z.string().min(1).optional(),
  results: z.string().min(1).optional(),
  statusInterval: z.coerce.number().min(0).max(86_400).default(0),
  log: z.string().min(1).optional(),
  /** BAASH_FAULT: what goes wrong on purpose, for chaos runs (rank/fault-injection.ts). */
  fault: z.string().min(1).optional(),
  status: z.string().min(1).optional(),
  metrics: z.string().min(1).optional(),
});

export const rankSchema = fields.superRefine((config, context) => {
  const wrong = (name: string, message: string) =>
    context.addIssue({ code: "custom", path: [name], message });
  if (4 * config.heartbeatMs > config.suspectMs)
    wrong("heartbeatMs", "four signs of life must fit into --suspect-ms");
  if (!config.sync && config.validator !== undefined)
    wrong("sync", "the validator writes, and it always syncs");
  if (config.suspectMs >= config.evictMs) wrong("suspectMs", "must be less than --evict-ms");
});

export type RankConfig = Readonly<z.infer<typeof rankSchema>>;

/** Flags of the command line beat BAASH_… variables. */
export function parseRankConfig(
  flags: Record<string, unknown>,
  environment: Readonly<Record<string, string | undefined>>,
): RankConfig {
  const given = {
    ledger: environment.BAASH_LEDGER,
    ledgerKey: environment.BAASH_LEDGER_KEY,
    fault: environment.BAASH_FAULT,
    ...Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)),
  };
  if (given.ledger === undefined) {
    throw usageError(
      "LEDGER_MISSING",
      "no ledger directory: give one with --ledger DIR or BAASH_LEDGER",
    );
  }
  const parsed = rankSchema.safeParse(given);
  if (parsed.success) return Object.freeze(parsed.data);
  const issue = parsed.error.issues[0];
  const flag = String(issue.path[0]).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw usageError("BAD_FLAG", `--${flag}: ${issue.message}; see --help`);
}
