/** Everything that a figure depends on and that we choose: one run's setting, and what it may be. */
import { usageError } from "../../base/errors.ts";
import { BLOCK_TXNS_MAX, PUZZLE_BITS_MAX } from "../../limits.ts";
import { RECORDS_MAX } from "../../workload/property-schema.ts";

export const WORKLOADS = [
  "updates",
  ...["workloada", "workloadb", "workloadc", "workloadd", "workloade", "workloadf"],
  "transfers",
] as const;

export interface Setting {
  readonly ranks: number;
  /** Transactions of a full block. */
  readonly blockTransactions: number;
  readonly valueBytes: number;
  /** Zero bits of a block's puzzle. */
  readonly difficulty: number;
  readonly quorum: string;
  /** "on", or "off": final is then linked only. */
  readonly sync: string;
  /** "updates" of one value, uniformly, or the name of a file of scripts/workloads. */
  readonly workload: string;
  /** What completes an operation: agreed or final. */
  readonly ack: string;
  /** In the table before the measurement begins. */
  readonly records: number;
  /** Transactions a second of all ranks together; 0: as fast as it goes. */
  readonly offered: number;
  /** The run ends after so many full blocks; 0: after `seconds`. */
  readonly blocks: number;
  readonly seconds: number;
  /** Seconds of the same load before, which are not in the figures. */
  readonly warmup: number;
}

export const PRESET: Setting = {
  ...{ ranks: 4, blockTransactions: 1000, valueBytes: 100, difficulty: 8 },
  ...{ quorum: "majority", sync: "on", workload: "updates", ack: "agreed" },
  ...{ records: 100_000, offered: 0, blocks: 0, seconds: 10, warmup: 3 },
};

/** As --quick has it: enough to see that all is there. */
export const QUICK: Partial<Setting> = { records: 1000, seconds: 1, warmup: 0.5 };

interface NumberRange {
  readonly title: string;
  readonly unit?: string;
  readonly min: number;
  readonly max: number;
  readonly isWhole: boolean;
}
interface Kinds {
  readonly title: string;
  readonly choices: readonly string[];
}

const whole = (title: string, min: number, max: number, unit?: string): NumberRange => ({
  ...{ title, min, max, isWhole: true, ...(unit !== undefined && { unit }) },
});

/** Of each part of a setting: what it is called in a table, and what it may be. */
export const RANGES: Readonly<Record<keyof Setting, NumberRange | Kinds>> = {
  ranks: whole("ranks", 1, 1024),
  blockTransactions: whole("block", 1, BLOCK_TXNS_MAX, "transactions"),
  // What the ceiling takes.
  valueBytes: whole("value", 8, 65_000, "bytes"),
  difficulty: whole("puzzle", 0, PUZZLE_BITS_MAX, "bits"),
  quorum: { title: "quorum", choices: ["majority", "byzantine"] },
  sync: { title: "sync", choices: ["on", "off"] },
  workload: { title: "workload", choices: WORKLOADS },
  ack: { title: "ack", choices: ["agreed", "final"] },
  records: whole("records", 0, RECORDS_MAX),
  offered: whole("offered", 0, 1e9, "tx/s"),
  blocks: whole("blocks", 0, 1e9),
  seconds: { title: "seconds", min: 0.1, max: 86_400, isWhole: false },
  warmup: { title: "warm-up seconds", min: 0, max: 86_400, isWhole: false },
};

export const PARTS = Object.keys(RANGES) as (keyof Setting)[];

/** A part of a setting as somebody has typed it. Throws BAD_FLAG (exit 2). */
export function readPart<N extends keyof Setting>(name: N, text: string, flag: string): Setting[N] {
  const range = RANGES[name];
  if ("choices" in range) {
    if (range.choices.includes(text)) return text as Setting[N];
    throw usageError("BAD_FLAG", `${flag} is ${range.choices.join(", ")}, not "${text}".`);
  }
  const value = Number(text);
  const isGood = text.trim() !== "" && value >= range.min && value <= range.max;
  if (isGood && (!range.isWhole || Number.isInteger(value))) return value as Setting[N];
  const kind = range.isWhole ? "whole number" : "number";
  throw usageError(
    "BAD_FLAG",
    `${flag} is a ${kind} from ${range.min} to ${range.max}, not "${text}".`,
  );
}
