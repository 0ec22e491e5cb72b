/**
 * Checkpoints: a signed head and the state snapshot that it covers, both published by link. The
 * snapshot comes first, so a head never names one that is missing; pruning goes the other way.
 * Any rank may write the one of a slot: state and signature are functions of the chain, so equal
 * ranks write equal bytes and the second one finds its work done. Runs in the writer worker.
 */
import { assert } from "../base/assert.ts";
import { equalBytes, readU16, readU64, writeU16, writeU64 } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { type CheckpointHead, decodeHead, encodeHead, type HeadKey } from "./checkpoint-head.ts";
import { readDirectoryIfAny, readFileIfAny, unlinkIfAny } from "./file-ops.ts";
import {
  SNAPSHOT_HEADER as HEADER,
  SNAPSHOT_HEADER_BYTES as HEADER_BYTES,
  HEADS_KEPT,
  SNAPSHOT_MAGIC,
  SNAPSHOT_VERSION,
} from "./format.ts";
import { headName, parseHeadName, parseStateName, stateName } from "./paths.ts";
import { isAscii, writeAscii } from "./segments.ts";
import type { StorageContext } from "./storage-context.ts";
import { damagedError, versionError } from "./storage-errors.ts";

export interface NewCheckpoint extends Omit<CheckpointHead, "snapshot"> {
  /** The state, opaque to storage. */
  readonly payload: readonly Uint8Array[];
}

/** A head as found: valid, or with the reason why it is not. */
export type FoundHead =
  | { readonly slot: number; readonly head: CheckpointHead }
  | { readonly slot: number; readonly problem: string };

export type CheckpointOutcome =
  | { readonly outcome: "written"; readonly pruned: readonly string[] }
  | { readonly outcome: "unknown"; readonly error: BaashError };

export class Checkpoints {
  readonly #context: StorageContext;
  readonly #key: HeadKey;

  constructor(context: StorageContext, key: HeadKey) {
    this.#context = context;
    this.#key = key;
  }

  /** Writes a checkpoint and prunes older ones. Throws STORAGE_FULL, STORAGE_IO, …_CONFLICT. */
  async write(checkpoint: NewCheckpoint): Promise<CheckpointOutcome> {
    const { paths, publisher } = this.#context;
    const directory = paths.checkpoints;
    const content = [encodeSnapshotHeader(checkpoint), ...checkpoint.payload];
    const snapshot = sha256(...content);
    const name = stateName(checkpoint.slot);
    const state = await publisher.publish({ directory, name, content });
    if (state.outcome === "unknown") return state;
    if (state.outcome === "lost") throw conflictError(paths.state(checkpoint.slot));
    const note = await encodeHead({ ...checkpoint, snapshot }, this.#key);
    const head = await publisher.publish({
      directory,
      name: headName(checkpoint.slot),
      content: [note],
    });
    if (head.outcome === "unknown") return head;
    if (head.outcome === "lost") throw conflictError(paths.head(checkpoint.slot));
    return { outcome: "written", pruned: await this.prune() };
  }

  /** All heads, newest first. A damaged one is reported, not hidden. */
  async heads(): Promise<FoundHead[]> {
    const { ops, paths } = this.#context;
    const found: FoundHead[] = [];
    for (const name of await readDirectoryIfAny(ops, paths.checkpoints)) {
      const slot = parseHeadName(name);
      if (slot === undefined) continue;
      const bytes = await readFileIfAny(ops, paths.head(slot));
      // Pruned by another rank between the two calls.
      if (bytes === undefined) continue;
      const head = await decodeHead(bytes, this.#key);
      if (typeof head === "string") found.push({ slot, problem: head });
      else if (head.slot !== slot) found.push({ slot, problem: `it says slot ${head.slot}` });
      else found.push({ slot, head });
    }
    return found.sort((a, b) => b.slot - a.slot);
  }

  /** The state of a valid head, checked against the head's hash before a byte is used. */
  async readSnapshot(head: CheckpointHead): Promise<Uint8Array> {
    const { ops, paths } = this.#context;
    const path = paths.state(head.slot);
    const bytes = await readFileIfAny(ops, path);
    if (bytes === undefined) throw damagedError(path, 0, "the file is missing");
    if (!equalBytes(sha256(bytes), head.snapshot)) {
      throw damagedError(path, 0, "it does not match the signed head");
    }
    const version = readU16(bytes, HEADER.version);
    if (!isAscii(bytes, HEADER.magic, SNAPSHOT_MAGIC) || version !== SNAPSHOT_VERSION) {
      throw versionError(path, version, SNAPSHOT_VERSION);
    }
    const payloadBytes = readU64(bytes, HEADER.payloadBytes);
    if (HEADER_BYTES + payloadBytes !== bytes.length) {
      throw damagedError(path, HEADER.payloadBytes, "its length does not fit the file");
    }
    if (readU64(bytes, HEADER.slot) !== head.slot) {
      throw damagedError(path, HEADER.slot, "it is the state at another slot");
    }
    return bytes.subarray(HEADER_BYTES);
  }

  /**
   * Deletes all but the newest valid ones, heads before their states, and returns the names. A
   * state without a head that is newer than those kept may be another rank's work: it stays. One
   * whose directory we could not sync may vanish yet, and counts for nothing here.
   */
  async prune(): Promise<string[]> {
    const { ops, paths, publisher } = this.#context;
    const lasts = (slot: number) =>
      publisher.doubt(paths.head(slot)) === undefined &&
      publisher.doubt(paths.state(slot)) === undefined;
    const valid = (await this.heads()).filter((found) => "head" in found && lasts(found.slot));
    if (valid.length < HEADS_KEPT) return [];
    const oldestKept = valid[HEADS_KEPT - 1].slot;
    const heads: string[] = [];
    const states: string[] = [];
    for (const name of await readDirectoryIfAny(ops, paths.checkpoints)) {
      const headSlot = parseHeadName(name);
      const stateSlot = parseStateName(name);
      if (headSlot !== undefined && headSlot < oldestKept) heads.push(name);
      if (stateSlot !== undefined && stateSlot < oldestKept) states.push(name);
    }
    for (const name of heads) await unlinkIfAny(ops, `${paths.checkpoints}/${name}`);
    if (heads.length > 0) await ops.syncDirectory(paths.checkpoints);
    for (const name of states) await unlinkIfAny(ops, `${paths.checkpoints}/${name}`);
    return [...heads, ...states];
  }
}

function encodeSnapshotHeader(checkpoint: NewCheckpoint): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  let payloadBytes = 0;
  for (const part of checkpoint.payload) payloadBytes += part.length;
  assert(Number.isSafeInteger(payloadBytes), "a snapshot has a length");
  writeAscii(header, HEADER.magic, SNAPSHOT_MAGIC);
  writeU16(header, HEADER.version, SNAPSHOT_VERSION);
  writeU64(header, HEADER.slot, checkpoint.slot);
  writeU64(header, HEADER.payloadBytes, payloadBytes);
  return header;
}

function conflictError(path: string): BaashError {
  return new BaashError(
    "STORAGE_CHECKPOINT_CONFLICT",
    `${path} exists with other bytes than this rank computed for the same slot: the file is ` +
      "damaged or this rank's state is wrong. Run `baash fsck` before going on.",
    { data: { path }, exitCode: EXIT.failed },
  );
}
