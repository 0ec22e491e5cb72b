/**
 * Finds the records of a ledger directory in slot order: from segments/ where a segment is folded,
 * from log/ else. Where segments/S exists it alone counts. Names are checked here, bytes elsewhere.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../base/errors.ts";
import { Damage } from "./damage.ts";
import { type FoundRecord, SegmentFile } from "./segment-file.ts";

const SEGMENT_NAME = /^\d{6,}$/;
const RECORD_NAME = /^(\d{10,})\.([0-9a-f]{64})$/;
const LEFTOVER_NAME = /^\.[0-9a-f]{16}-\d+\.tmp$|^\.folded-/;

interface Candidate {
  slot: number;
  prevHash: string;
  file: string;
}

export class RecordSource {
  /** Things that are worth a word and are not damage. */
  readonly notes: string[] = [];
  /** Bytes of all record and segment files, for the progress bar. */
  readonly bytesTotal: number;
  private readonly dir: string;
  private readonly folded: Set<number>;
  private readonly tails: Set<number>;

  constructor(dir: string) {
    this.dir = dir;
    this.folded = this.numbers("segments");
    this.tails = this.numbers("log");
    let bytes = 0;
    for (const segment of this.folded) bytes += statSync(this.segmentPath(segment)).size;
    for (const segment of this.tails) {
      if (this.folded.has(segment)) {
        this.notes.push(`log/${name(segment)} is left over: the segment is folded`);
        this.tails.delete(segment);
        continue;
      }
      const tail = join(dir, "log", name(segment));
      for (const file of readdirSync(tail)) {
        bytes += statSync(join(tail, file), { throwIfNoEntry: false })?.size ?? 0;
      }
    }
    this.bytesTotal = bytes;
  }

  /**
   * Yields the child of each record in turn. `head` answers the hash of the record yielded last, as
   * hex. Throws a Damage where a record is missing though later ones are there.
   */
  *records(head: () => string): Generator<FoundRecord> {
    const segments = [...this.folded, ...this.tails].sort((a, b) => a - b);
    let slot = 0;
    for (const [i, segment] of segments.entries()) {
      if (segment !== i) throw this.missingSegment(i, slot);
      const first = slot;
      if (!this.folded.has(segment)) {
        try {
          for (const found of this.tailRecords(segment, slot, head)) {
            yield found;
            slot++;
          }
          continue;
        } catch (error) {
          // A running rank folds while we read: then the segment has the rest.
          if (errorCode(error) !== "ENOENT" || !existsSync(this.segmentPath(segment))) throw error;
        }
      }
      slot = yield* this.segmentRecords(segment, first, slot);
    }
  }

  /** The records of a folded segment from slot `from` on; answers the slot after its last. */
  private *segmentRecords(segment: number, first: number, from: number) {
    const file = new SegmentFile(this.dir, `segments/${name(segment)}`, segment, first);
    try {
      for (const found of file.records()) if (found.slot >= from) yield found;
    } finally {
      file.close();
    }
    return first + file.count;
  }

  private *tailRecords(segment: number, first: number, head: () => string): Generator<FoundRecord> {
    const candidates = this.candidates(segment);
    const last = candidates.length === 0 ? -1 : candidates[candidates.length - 1].slot;
    let slot = first;
    for (let i = 0; i < candidates.length; ) {
      const sameSlot: Candidate[] = [];
      while (i < candidates.length && candidates[i].slot <= slot) sameSlot.push(candidates[i++]);
      const parent = head();
      const found = sameSlot.find((each) => each.slot === slot && each.prevHash === parent);
      for (const other of sameSlot) {
        if (other !== found && found !== undefined) {
          this.notes.push(
            `${other.file} follows a record that is not in the chain: nobody reads it`,
          );
        }
      }
      if (found === undefined) throw this.missingRecord(segment, { slot, last, parent, sameSlot });
      const bytes = readFileSync(join(this.dir, found.file));
      yield { slot, file: found.file, offset: 0, bytes, prevHash: found.prevHash };
      slot++;
    }
  }

  private candidates(segment: number): Candidate[] {
    const candidates: Candidate[] = [];
    for (const file of readdirSync(join(this.dir, "log", name(segment)))) {
      const path = `log/${name(segment)}/${file}`;
      const match = RECORD_NAME.exec(file);
      if (match) candidates.push({ slot: Number(match[1]), prevHash: match[2], file: path });
      else if (LEFTOVER_NAME.test(file)) this.notes.push(`${path} is a leftover of a writer`);
      else throw new Damage({ code: "NAME", file: path, offset: 0, what: "not a record's name" });
    }
    return candidates.sort((a, b) => a.slot - b.slot);
  }

  private missingRecord(
    segment: number,
    gap: { slot: number; last: number; parent: string; sameSlot: Candidate[] },
  ): Damage {
    const digits = String(gap.slot).padStart(10, "0");
    const wrong = gap.sameSlot.find((candidate) => candidate.slot === gap.slot);
    return new Damage({
      code: wrong === undefined ? "RECORD_MISSING" : "RECORD_PARENT",
      file: wrong?.file ?? `log/${name(segment)}/${digits}.${gap.parent}`,
      offset: 0,
      slot: gap.slot,
      what:
        wrong === undefined
          ? `the record is missing though the log goes on until slot ${gap.last}`
          : "the name states another parent than the record before it",
      ...(wrong === undefined ? {} : { expected: gap.parent, found: wrong.prevHash }),
    });
  }

  private missingSegment(segment: number, slot: number): Damage {
    return new Damage({
      code: "SEGMENT_MISSING",
      file: `segments/${name(segment)}`,
      offset: 0,
      slot,
      what: "neither this segment nor its directory in log/ is there, though later ones are",
    });
  }

  private segmentPath(segment: number): string {
    return join(this.dir, "segments", name(segment));
  }

  private numbers(folder: string): Set<number> {
    const path = join(this.dir, folder);
    const numbers = new Set<number>();
    if (!existsSync(path)) return numbers;
    for (const entry of readdirSync(path)) {
      if (SEGMENT_NAME.test(entry)) numbers.add(Number(entry));
      else if (LEFTOVER_NAME.test(entry)) {
        this.notes.push(`${folder}/${entry} is a leftover of a writer`);
      } else {
        const what = "not a segment's name";
        throw new Damage({ code: "NAME", file: `${folder}/${entry}`, offset: 0, what });
      }
    }
    return numbers;
  }
}

function name(segment: number): string {
  return String(segment).padStart(6, "0");
}
