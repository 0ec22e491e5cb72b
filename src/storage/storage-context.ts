/**
 * What the parts of storage share for one ledger directory: the file operations, the names, the
 * publisher with this process's incarnation, the folded segments, and the judge.
 *
 * Storage does not know the bytes of a record. The *judge* does (ledger/record): from the bytes
 * alone it says the record's hash, or at which byte they are damaged. It throws for a record
 * version that it does not know, which stops the rank. Whether a record is *valid* on the chain is
 * the caller's question, asked later.
 */
import { SEGMENT_RECORDS } from "../limits.ts";
import type { FileOps } from "./file-ops.ts";
import { LedgerPaths } from "./paths.ts";
import { Publisher } from "./publisher.ts";
import { ReopeningOps } from "./reopening-ops.ts";
import { SegmentReader } from "./segments.ts";
import { damagedError } from "./storage-errors.ts";

export type Judgement =
  | { readonly intact: true; readonly hash: Uint8Array }
  | { readonly intact: false; readonly byte: number; readonly reason: string };

/** `place` is what the file's name claims; a record that says otherwise is damaged. */
export type Judge = (
  bytes: Uint8Array,
  place: { readonly slot: number; readonly prevHash: Uint8Array },
) => Judgement;

export interface StorageContext {
  readonly ops: FileOps;
  readonly paths: LedgerPaths;
  readonly publisher: Publisher;
  readonly segments: SegmentReader;
  readonly judge: Judge;
  readonly segmentRecords: number;
}

export function storageContext(options: {
  ops: FileOps;
  root: string;
  /** 16 hex digits, drawn at process start. */
  incarnation: string;
  judge: Judge;
  /** Part of the format: the same for the whole life of a ledger. Tests use small ones. */
  segmentRecords?: number;
}): StorageContext {
  const paths = new LedgerPaths(options.root);
  const ops = new ReopeningOps(options.ops);
  return {
    ops,
    paths,
    publisher: new Publisher(ops, options.incarnation),
    segments: new SegmentReader(ops, paths),
    judge: options.judge,
    segmentRecords: options.segmentRecords ?? SEGMENT_RECORDS,
  };
}

/** The hash of an intact record; STORAGE_DAMAGED with file and byte otherwise. */
export function judgeOrThrow(
  context: StorageContext,
  place: { slot: number; prevHash: Uint8Array },
  bytes: Uint8Array,
  /** Where the bytes stand in a folded segment. */
  within?: { path: string; offset: number },
): Uint8Array {
  const judgement = context.judge(bytes, place);
  if (judgement.intact) return judgement.hash;
  const segment = Math.floor(place.slot / context.segmentRecords);
  const path = within?.path ?? context.paths.record(segment, place.slot, place.prevHash);
  const byte = (within?.offset ?? 0) + judgement.byte;
  const { slot, prevHash } = place;
  throw damagedError(path, byte, judgement.reason, { slot, prevHash });
}
