/**
 * Where else the bytes of a record may be: in memory, in the tail beside its folded segment, and in
 * mirrors, which are directories of the same layout (a backup, an older copy). What comes from here is
 * believed only with the right hash; nothing here is ever written. Writer worker.
 */

import { equalBytes } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import { isSystemError, readFileIfAny } from "./file-ops.ts";
import { LedgerPaths } from "./paths.ts";
import type { RecordCache } from "./record-cache.ts";
import { SegmentReader } from "./segments.ts";
import type { Place } from "./shared-log.ts";
import type { StorageContext } from "./storage-context.ts";

export class Copies {
  private readonly context: StorageContext;
  private readonly cache: RecordCache;
  private readonly places: readonly {
    readonly paths: LedgerPaths;
    readonly segments: SegmentReader;
  }[];

  constructor(context: StorageContext, cache: RecordCache, mirrors: readonly string[]) {
    this.context = context;
    this.cache = cache;
    const own = { paths: context.paths, segments: context.segments };
    const others = mirrors.map((root) => {
      const paths = new LedgerPaths(root);
      return { paths, segments: new SegmentReader(context.ops, paths) };
    });
    this.places = [own, ...others];
  }

  /** Intact bytes of this very record, and where they were found. */
  async find(
    place: Place,
    hash: Uint8Array,
  ): Promise<{ bytes: Uint8Array; from: string } | undefined> {
    const kept = this.cache.find(place.slot, hash);
    if (kept !== undefined) return { bytes: kept, from: "memory" };
    for await (const { bytes, from } of this.candidates(place)) {
      const judgement = this.context.judge(bytes, place);
      if (judgement.intact && equalBytes(judgement.hash, hash)) return { bytes, from };
    }
    return undefined;
  }

  /** As `find` where only the parent is known: the record's own checksums and place must do. */
  async findChild(place: Place): Promise<Uint8Array | undefined> {
    for await (const { bytes } of this.candidates(place)) {
      if (this.context.judge(bytes, place).intact) return bytes;
    }
    return undefined;
  }

  private async *candidates(place: Place): AsyncGenerator<{ bytes: Uint8Array; from: string }> {
    const segment = Math.floor(place.slot / this.context.segmentRecords);
    for (const { paths, segments } of this.places) {
      const path = paths.record(segment, place.slot, place.prevHash);
      const single = await quietly(() => readFileIfAny(this.context.ops, path));
      if (single !== undefined) yield { bytes: single, from: path };
      const folded = await quietly(async () => {
        const index = await segments.open(segment);
        return index?.isChildOf(place.slot, place.prevHash)
          ? await segments.read(index, place.slot)
          : undefined;
      });
      if (folded !== undefined) yield { bytes: folded, from: paths.segment(segment) };
    }
  }
}

/** A copy that cannot be read is no copy. */
async function quietly<T>(read: () => Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const code = errorCode(error);
    if (isSystemError(error) || code === "STORAGE_DAMAGED" || code === "STORAGE_VERSION")
      return undefined;
    throw error;
  }
}
