/**
 * Recovery: from the newest valid checkpoint, or from genesis, along the chain to its head, record
 * by record. Folded segments are read in large pieces. Never truncates: damage that cannot be
 * repaired, a log shorter than a signed head, and an unknown version stop the rank with a sentence.
 * Runs in the writer worker.
 */
import { equalBytes } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import type { CheckpointHead } from "./checkpoint-head.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { readDirectoryIfAny } from "./file-ops.ts";
import { parseRecordName, parseSegmentName } from "./paths.ts";
import type { Place, SharedLog } from "./shared-log.ts";
import { judgeOrThrow } from "./storage-context.ts";
import { rolledBackError, unknownError } from "./storage-errors.ts";

export interface RecoveryOptions {
  readonly log: SharedLog;
  readonly checkpoints?: Checkpoints;
  /**
   * Takes a snapshot over; false (a payload that does not decode, a state root that differs)
   * falls back to the checkpoint before. Nothing may be kept of it then.
   */
  readonly onSnapshot?: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>;
  /** Every record after the checkpoint, in order. What it throws ends the recovery. */
  readonly onRecord: (bytes: Uint8Array, slot: number, hash: Uint8Array) => void | Promise<void>;
  /** A record that was final once: the log must contain it, as if a signed head named it. */
  readonly known?: { readonly slot: number; readonly hash: Uint8Array };
  readonly heal?: Heal;
}

/** Tries to put right what STORAGE_DAMAGED tells of; true: look again. */
export type Heal = (damage: unknown) => Promise<boolean>;

export interface Recovered {
  /** The newest record, durable now; slot -1 and zeros for a ledger without records. */
  readonly slot: number;
  readonly hash: Uint8Array;
  /** The checkpoint's slot, or -1: replay began after it. */
  readonly fromSlot: number;
  readonly records: number;
  /** What a person should know: checkpoints that could not be used, and why. */
  readonly warnings: readonly string[];
}

export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const { log } = options;
  const warnings: string[] = [];
  const { start, signed } = await chooseStart(options, warnings);
  let hash: Uint8Array = start?.recordHash ?? new Uint8Array(32);
  let slot = start?.slot ?? -1;
  const fromSlot = slot;
  let last: Place | undefined;
  for await (const record of walk(log, { slot: slot + 1, prevHash: hash }, options.heal)) {
    const promised = signed.get(record.slot);
    if (promised !== undefined && !equalBytes(promised, record.hash)) {
      const reason = `slot ${record.slot} is not the record that was final there`;
      throw rolledBackError(log.context.paths.root, reason);
    }
    await options.onRecord(record.bytes, record.slot, record.hash);
    last = { slot: record.slot, prevHash: hash };
    ({ slot, hash } = record);
    // Each but the newest was synced before its child was linked; the newest is adopted below.
    if (last.slot > 0) log.noteSynced({ slot: last.slot - 1, hash: last.prevHash });
  }
  for (const promised of signed.keys()) {
    if (promised > slot) {
      const reason = `the log ends at slot ${slot}, and slot ${promised} was final`;
      throw rolledBackError(log.context.paths.root, reason);
    }
  }
  if (last !== undefined && (await log.adopt(last)) === undefined) {
    const path = log.context.paths.record(log.segmentOf(last.slot), last.slot, last.prevHash);
    const cause = new Error("it vanished while it was adopted");
    throw unknownError(path, cause, { slot: last.slot, elsewhere: false });
  }
  return { slot, hash, fromSlot, records: slot - fromSlot, warnings };
}

export interface WalkedRecord {
  readonly slot: number;
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
}

/** The chain from `place` on, judged record by record; ends where there is no child. */
export async function* walk(
  log: SharedLog,
  place: Place,
  heal?: Heal,
): AsyncGenerator<WalkedRecord> {
  let { slot, prevHash } = place;
  for (;;) {
    try {
      for await (const record of stretch(log, { slot, prevHash })) {
        ({ slot } = record);
        yield record;
        slot++;
        prevHash = record.hash;
      }
      return;
    } catch (error) {
      if (errorCode(error) !== "STORAGE_DAMAGED" || !(await heal?.(error))) throw error;
    }
  }
}

/** As `walk`; ends at the first damage. */
async function* stretch(log: SharedLog, place: Place): AsyncGenerator<WalkedRecord> {
  const { context } = log;
  let { slot, prevHash } = place;
  for (;;) {
    const index = await context.segments.open(log.segmentOf(slot));
    if (index === undefined) {
      const bytes = await log.child({ slot, prevHash });
      if (bytes === undefined) {
        if (await appearedMeanwhile(log, { slot, prevHash })) continue;
        return;
      }
      const hash = judgeOrThrow(context, { slot, prevHash }, bytes);
      yield { slot, hash, bytes };
      prevHash = hash;
      slot++;
      continue;
    }
    if (!index.isChildOf(slot, prevHash)) {
      throw rolledBackError(index.path, `slot ${slot} does not follow the record before it`);
    }
    for await (const record of context.segments.records(index, slot)) {
      const within = { path: index.path, offset: index.offset(slot) };
      const hash = judgeOrThrow(context, { slot, prevHash }, record.bytes, within);
      yield { slot, hash, bytes: record.bytes };
      prevHash = hash;
      slot++;
    }
  }
}

/**
 * Starts from the newest head whose record is in the log and whose state is whole. Heads that are
 * signed but cannot be started from still bind: the log must reach and contain their records.
 */
async function chooseStart(options: RecoveryOptions, warnings: string[]) {
  const signed = new Map<number, Uint8Array>();
  const { log, checkpoints, onSnapshot, known } = options;
  if (known !== undefined) {
    await demand(options, known, "which was final");
    signed.set(known.slot, known.hash);
  }
  if (checkpoints === undefined) return { start: undefined, signed };
  for (const found of await checkpoints.heads()) {
    if (!("head" in found)) {
      warnings.push(`The head of slot ${found.slot} is not used: ${found.problem}.`);
      continue;
    }
    const { head } = found;
    await demand(options, { slot: head.slot, hash: head.recordHash }, "named by a signed head");
    if (onSnapshot === undefined) {
      signed.set(head.slot, head.recordHash);
      continue;
    }
    try {
      const payload = await checkpoints.readSnapshot(head);
      if (await onSnapshot(head, payload)) {
        // Its record was made final before the checkpoint was signed.
        log.noteSynced({ slot: head.slot, hash: head.recordHash });
        for (const slot of signed.keys()) if (slot <= head.slot) signed.delete(slot);
        return { start: head, signed };
      }
      warnings.push(`The state at slot ${head.slot} was not accepted.`);
    } catch (error) {
      warnings.push(`The state at slot ${head.slot} is not used: ${String(error)}`);
    }
    signed.set(head.slot, head.recordHash);
  }
  return { start: undefined, signed };
}

/** The log must hold this record; a damaged one is repaired on the way, if it can be. */
async function demand(
  { log, heal }: RecoveryOptions,
  record: { readonly slot: number; readonly hash: Uint8Array },
  why: string,
): Promise<void> {
  for (;;) {
    try {
      if ((await log.readRecord(record.slot, record.hash)) !== undefined) return;
      const reason = `the record of slot ${record.slot}, ${why}, is missing`;
      throw rolledBackError(log.context.paths.root, reason);
    } catch (error) {
      if (errorCode(error) !== "STORAGE_DAMAGED" || !(await heal?.(error))) throw error;
    }
  }
}

/**
 * Nothing is linked before its parent is synced, so a record or a segment beyond a slot says that
 * the slot had a record. True: it has come meanwhile. Throws when it is gone.
 */
async function appearedMeanwhile(log: SharedLog, place: Place): Promise<boolean> {
  const { ops, paths } = log.context;
  const segment = log.segmentOf(place.slot);
  let beyond: string | undefined;
  for (const name of await readDirectoryIfAny(ops, paths.segments)) {
    if ((parseSegmentName(name) ?? -1) >= segment) beyond = name;
  }
  for (const directory of await readDirectoryIfAny(ops, paths.log)) {
    if ((parseSegmentName(directory) ?? -1) < segment) continue;
    for (const name of await readDirectoryIfAny(ops, `${paths.log}/${directory}`)) {
      if ((parseRecordName(name)?.slot ?? -1) > place.slot) beyond = name;
    }
  }
  if (beyond === undefined) return false;
  if ((await log.child(place)) !== undefined) return true;
  const reason = `the record of slot ${place.slot} is missing, but ${beyond} exists`;
  throw rolledBackError(paths.root, reason);
}
