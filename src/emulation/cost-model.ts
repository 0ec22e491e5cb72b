/**
 * What things cost on a machine: measured by scripts/calibrate, kept as a JSON file, read by
 * `baash emulate`. Times are microseconds of one core unless the name says otherwise.
 */
import { z } from "zod";
import { configurationError } from "../base/errors.ts";

export const COST_MODEL_VERSION = 1;

const cost = z.number().finite().nonnegative();
const rate = z.number().finite().positive();

const linkSchema = z.strictObject({
  /** From a send to its arrival, without what the cores do for it. */
  latencyUs: cost,
  /** Of one rank. */
  bandwidthBytesPerS: rate,
  /** Of all ranks of a node together. */
  nodeBandwidthBytesPerS: rate,
});

export const costModelSchema = z.strictObject({
  version: z.literal(COST_MODEL_VERSION),
  /** Where and how it was measured, and what was assumed instead. */
  machine: z.strictObject({
    name: z.string().min(1),
    cores: z.int().positive(),
    measured: z.iso.date(),
    ranks: z.array(z.int().positive()).min(1),
    notes: z.array(z.string()),
  }),
  network: z.strictObject({
    /** Between ranks of one node. */
    local: linkSchema,
    /** Between nodes. */
    remote: linkSchema,
  }),
  cpu: z.strictObject({
    /** Of a rank in each round, whatever is in it: timers, wake-ups, the steps of its own. */
    roundUs: cost,
    /** `roundUs` and `messageUs` are so much more, as a part, with each doubling of the ranks on a core, up to four. */
    crowding: cost,
    /** Of each side of one message, and of one step of a collective. */
    messageUs: cost,
    /** Nanoseconds: one byte sent or received is copied. */
    byteNs: cost,
    /** A proposal that came: decoding, its MAC, the core. */
    proposalUs: cost,
    /** A vote that came: decoding, its MAC, the core. */
    voteUs: cost,
    /** A block that came: its header and its puzzle. */
    blockUs: cost,
    /** One hash of the puzzle. */
    hashUs: cost,
    /** A transaction of its own: intake, hashing, building, receipt. */
    ownTransactionUs: cost,
    /** A transaction of anybody: checking and executing. */
    transactionUs: cost,
    /** A record that this rank writes: drafting and writing it. */
    recordUs: cost,
  }),
  storage: z.strictObject({
    /** From a decision until storage is asked: the way to another thread. What it costs is `recordUs`. */
    handOverMs: cost,
    /** Write, sync, link, sync of the directory. */
    appendMs: cost,
    /** Reading the name of the next record. */
    readMs: cost,
    bandwidthBytesPerS: rate,
  }),
  membership: z.strictObject({
    /** From a death until every member holds it for certain. */
    detectMs: cost,
    /** From then until the SEAL is begun. */
    gatherMs: cost,
  }),
  power: z.strictObject({ wattsPerCore: rate, source: z.string().min(1) }),
});

export type CostModel = z.infer<typeof costModelSchema>;
export type Link = CostModel["network"]["local"];

/** Throws BAD_MODEL (exit 78) with the place that is wrong. */
export function parseCostModel(text: string, path: string): CostModel {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw configurationError("BAD_MODEL", `${path} is not JSON: ${(error as Error).message}.`);
  }
  const parsed = costModelSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path: place, message } = parsed.error.issues[0];
  throw configurationError(
    "BAD_MODEL",
    `${path} is not a cost model of version ${COST_MODEL_VERSION}: ${place.join(".") || "it"}: ${message}; make one with scripts/calibrate.`,
  );
}
