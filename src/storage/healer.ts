/**
 * What to do about damage that a read met: find out which record or segment it is, which hash it must
 * have, look for a copy, and put it back. A hash counts only when the chain says it: the name of the
 * record's child, the index of its segment, or what this process executed. Writer worker.
 */
import { fromHex } from "../base/bytes.ts";
import { BaashError } from "../base/errors.ts";
import type { Copies } from "./copies.ts";
import { readDirectoryIfAny, readFileIfAny } from "./file-ops.ts";
import { parseRecordName, parseSegmentName } from "./paths.ts";
import { type KnownRecord, type Repaired, rebuildSegment, repairRecord } from "./repair.ts";
import type { SharedLog } from "./shared-log.ts";
import { damagedError } from "./storage-errors.ts";

/** A disk that damages what was just repaired is not repaired for ever. */
const HEALINGS_MAX = 3;

/** Something that a person should hear of, though the ledger goes on. */
export interface StorageNotice {
  readonly code: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export class Healer {
  private readonly log: SharedLog;
  private readonly copies: Copies;
  private readonly onNotice: (notice: StorageNotice) => void;
  /** Repairs by file and slot. */
  private readonly healings = new Map<string, number>();

  constructor(log: SharedLog, copies: Copies, onNotice: (notice: StorageNotice) => void) {
    this.log = log;
    this.copies = copies;
    this.onNotice = onNotice;
  }

  /** True when what this STORAGE_DAMAGED tells of has been put right: look again. */
  async heal(error: unknown): Promise<boolean> {
    if (!(error instanceof BaashError) || error.code !== "STORAGE_DAMAGED") return false;
    const { path, slot, prevHash, hash } = error.data;
    if (typeof path !== "string") return false;
    const place = `${path} ${slot}`;
    const healings = this.healings.get(place) ?? 0;
    if (healings >= HEALINGS_MAX) return false;
    const healed =
      typeof slot === "number"
        ? await this.healRecord({ slot, prevHash, hash })
        : await this.healSegment(path);
    // What could not be tried yet may be later: a child comes, and names its parent's hash.
    if (healed) this.healings.set(place, healings + 1);
    return healed;
  }

  private async healRecord(damaged: {
    slot: number;
    prevHash: unknown;
    hash: unknown;
  }): Promise<boolean> {
    const { slot, prevHash, hash } = damaged;
    if (typeof prevHash !== "string") return false;
    const wanted = typeof hash === "string" ? fromHex(hash) : await this.hashOf(slot);
    if (wanted === undefined) return false;
    const record = { slot, prevHash: fromHex(prevHash), hash: wanted };
    const copy = await this.copies.find(record, wanted);
    if (copy === undefined) return false;
    return (await this.put(record, copy.bytes, copy.from)).outcome !== "refused";
  }

  /** The same error with the hash that the record must have, where something says it: a peer can be asked. */
  async named(error: unknown): Promise<unknown> {
    if (!(error instanceof BaashError) || error.code !== "STORAGE_DAMAGED") return error;
    const { path, byte, reason, slot, prevHash, hash } = error.data;
    if (typeof slot !== "number" || typeof prevHash !== "string" || hash !== undefined)
      return error;
    const known = await this.hashOf(slot);
    if (known === undefined) return error;
    const place = { slot, prevHash: fromHex(prevHash), hash: known };
    return damagedError(String(path), Number(byte), String(reason), place);
  }

  /** Puts bytes that somebody offers where this record is damaged or missing. */
  async put(record: KnownRecord, bytes: Uint8Array, from: string): Promise<Repaired> {
    const repaired = await repairRecord(this.log, record, bytes);
    if (repaired.outcome === "repaired") {
      this.tell(repaired, `the record of slot ${record.slot}`, from);
    }
    return repaired;
  }

  /** The hash that the record of `slot` must have; undefined where nothing says it without doubt. */
  async hashOf(slot: number): Promise<Uint8Array | undefined> {
    const known = this.log.hashOf(slot);
    if (known !== undefined) return known;
    const { segments } = this.log.context;
    const next = this.log.segmentOf(slot + 1);
    const index = await segments.open(next);
    if (index !== undefined) return index.prevHash(slot + 1);
    return await this.onlyParent(next, slot + 1);
  }

  /** The parent of the record of `slot`, by its name in the tail. */
  private async onlyParent(segment: number, slot: number): Promise<Uint8Array | undefined> {
    const { ops, paths } = this.log.context;
    const parents = new Set<string>();
    for (const name of await readDirectoryIfAny(ops, paths.tail(segment))) {
      const place = parseRecordName(name);
      if (place?.slot === slot) parents.add(place.prevHash);
    }
    // A paused writer may have left a file beside the chain: then the names alone do not tell.
    return parents.size === 1 ? fromHex([...parents][0]) : undefined;
  }

  private async healSegment(path: string): Promise<boolean> {
    const { paths, segmentRecords } = this.log.context;
    const name = path.slice(path.lastIndexOf("/") + 1);
    const segment = parseSegmentName(name);
    if (segment === undefined || path !== paths.segment(segment)) return false;
    const first = segment * segmentRecords;
    const firstPrevHash = await this.hashBefore(first);
    const lastHash = await this.hashOf(first + segmentRecords - 1);
    if (firstPrevHash === undefined || lastHash === undefined) return false;
    const ends = { firstPrevHash, lastHash };
    const copyOf = (place: { slot: number; prevHash: Uint8Array }) => this.copies.findChild(place);
    const rebuilt = await rebuildSegment(this.log, segment, ends, copyOf);
    if (rebuilt === undefined) return false;
    this.tell(rebuilt, `segment ${segment}`, "its records");
    return true;
  }

  /** The parent of a segment's first record. */
  private async hashBefore(slot: number): Promise<Uint8Array | undefined> {
    const known = this.log.hashOf(slot - 1);
    if (known !== undefined) return known;
    const { ops, paths, segments, judge } = this.log.context;
    const segment = this.log.segmentOf(slot - 1);
    const index = await segments.open(segment);
    if (index !== undefined) return index.hash(slot - 1);
    // Not folded yet, as a record of it was damaged: its last one says what it is.
    const prevHash = await this.onlyParent(segment, slot - 1);
    if (prevHash === undefined) return undefined;
    const bytes = await readFileIfAny(ops, paths.record(segment, slot - 1, prevHash));
    const judgement = bytes && judge(bytes, { slot: slot - 1, prevHash });
    return judgement?.intact ? judgement.hash : undefined;
  }

  private tell(
    { path, kept }: { path: string; kept: string | undefined },
    what: string,
    from: string,
  ): void {
    const where = kept === undefined ? "it was missing" : `the damaged file is kept at ${kept}`;
    this.onNotice({
      code: "STORAGE_REPAIRED",
      message: `${path} was damaged: ${what} was put back from ${from}, and ${where}. Check the disk.`,
      data: { path, kept, from },
    });
  }
}
