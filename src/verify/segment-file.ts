/**
 * Reads a folded segment: checks header, index and trailer, then hands its records out in order,
 * read in large pieces. Every byte of the file is covered by one of the two SHA-256s.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { readU16, readU64, toHex } from "../base/bytes.ts";
import {
  SEGMENT_ENTRY as ENTRY,
  SEGMENT_ENTRY_BYTES as ENTRY_BYTES,
  SEGMENT_HEADER as HEADER,
  SEGMENT_HEADER_BYTES as HEADER_BYTES,
  SEGMENT_MAGIC,
  SEGMENT_TRAILER_MAGIC,
  SEGMENT_VERSION,
  SEGMENT_TRAILER as TRAILER,
  SEGMENT_TRAILER_BYTES as TRAILER_BYTES,
} from "../storage/format.ts";
import { Damage } from "./damage.ts";
import { sha256 } from "./genesis-reader.ts";

/** One read: enough to hide the latency of a parallel file system. */
const PIECE_BYTES = 8 * 1024 * 1024;

export interface FoundRecord {
  slot: number;
  file: string;
  offset: number;
  bytes: Uint8Array;
  /** The parent that the file's name or the segment's index states. */
  prevHash: string;
}

export class SegmentFile {
  private readonly fd: number;
  private readonly file: string;
  private readonly fileBytes: number;
  private readonly entries: Uint8Array;
  private piece: Uint8Array = new Uint8Array(0);
  readonly count: number;
  readonly firstSlot: number;

  constructor(dir: string, file: string, segment: number, firstSlot: number) {
    this.file = file;
    this.firstSlot = firstSlot;
    this.fd = openSync(join(dir, file), "r");
    try {
      this.fileBytes = fstatSync(this.fd).size;
      this.entries = this.readIndex(segment);
    } catch (error) {
      this.close();
      throw error;
    }
    this.count = this.entries.length / ENTRY_BYTES;
  }

  close(): void {
    closeSync(this.fd);
  }

  /** Records in order. Their bytes are good until the next one is asked for. */
  *records(): Generator<FoundRecord> {
    for (let first = 0; first < this.count; ) {
      const start = this.number(first, ENTRY.offset);
      let end = start;
      let last = first;
      for (; last < this.count; last++) {
        const length = this.number(last, ENTRY.length);
        if (last > first && end + length - start > PIECE_BYTES) break;
        end += length;
      }
      const bytes = this.read(start, end - start);
      for (; first < last; first++) {
        const at = this.number(first, ENTRY.offset);
        const record = bytes.subarray(at - start, at - start + this.number(first, ENTRY.length));
        yield this.checked(first, at, record);
      }
    }
  }

  private checked(i: number, offset: number, bytes: Uint8Array): FoundRecord {
    const slot = this.firstSlot + i;
    const expected = this.hex(i, ENTRY.sha256);
    const found = toHex(sha256(bytes));
    if (found !== expected) {
      this.bad("SEGMENT_RECORD", offset, {
        slot,
        what: `the record of ${bytes.length} bytes here does not have the SHA-256 in the index`,
        expected,
        found,
      });
    }
    const hash = toHex(sha256(bytes.subarray(0, 256)));
    if (hash !== this.hex(i, ENTRY.hash)) {
      const at = offset;
      this.bad("SEGMENT_INDEX", at, { slot, what: "the index states another record hash" });
    }
    return { slot, file: this.file, offset, bytes, prevHash: this.hex(i, ENTRY.prevHash) };
  }

  private readIndex(segment: number): Uint8Array {
    const { fileBytes } = this;
    if (fileBytes < HEADER_BYTES + TRAILER_BYTES) {
      this.bad("SEGMENT_SHORT", fileBytes, { what: "the segment is cut" });
    }
    const header = this.read(0, HEADER_BYTES).slice();
    if (Buffer.from(header.subarray(0, 8)).toString("latin1") !== SEGMENT_MAGIC) {
      this.bad("SEGMENT_MAGIC", 0, { what: "not a segment", expected: SEGMENT_MAGIC });
    }
    this.expect(readU16(header, HEADER.version), SEGMENT_VERSION, HEADER.version, "version");
    this.expect(readU64(header, HEADER.segment), segment, HEADER.segment, "number of segment");
    this.expect(readU64(header, HEADER.firstSlot), this.firstSlot, HEADER.firstSlot, "first slot");
    const trailerAt = fileBytes - TRAILER_BYTES;
    const trailer = this.read(trailerAt, TRAILER_BYTES).slice();
    if (Buffer.from(trailer.subarray(0, 8)).toString("latin1") !== SEGMENT_TRAILER_MAGIC) {
      this.bad("SEGMENT_TRAILER", trailerAt, { what: "the trailer is missing: cut or damaged" });
    }
    const indexOffset = readU64(trailer, TRAILER.indexOffset);
    const count = readU64(trailer, TRAILER.count);
    const statedBytes = readU64(trailer, TRAILER.fileBytes);
    this.expect(statedBytes, fileBytes, trailerAt + TRAILER.fileBytes, "size of the file");
    if (!(indexOffset + count * ENTRY_BYTES === trailerAt)) {
      this.bad("SEGMENT_TRAILER", trailerAt, { what: "offset and count of the index do not fit" });
    }
    const entries = this.read(indexOffset, count * ENTRY_BYTES).slice();
    const found = toHex(sha256(header, entries, trailer.subarray(0, TRAILER.sha256)));
    const expected = toHex(trailer, TRAILER.sha256, TRAILER.sha256 + 32);
    if (found !== expected) {
      const what = "header, index or trailer are damaged: their SHA-256 differs";
      this.bad("SEGMENT_INDEX", indexOffset, { what, expected, found });
    }
    let at = HEADER_BYTES;
    for (let i = 0; i < count; i++) {
      const entryAt = indexOffset + i * ENTRY_BYTES;
      this.expect(readU64(entries, i * ENTRY_BYTES), at, entryAt, `offset of record ${i}`);
      at += readU64(entries, i * ENTRY_BYTES + ENTRY.length);
    }
    this.expect(at, indexOffset, trailerAt + TRAILER.indexOffset, "end of the records");
    return entries;
  }

  private expect(found: number, expected: number, offset: number, what: string): void {
    if (found === expected) return;
    this.bad("SEGMENT_FIELD", offset, {
      what: `wrong ${what}`,
      expected: String(expected),
      found: String(found),
    });
  }

  private bad(
    code: string,
    offset: number,
    facts: { what: string; slot?: number; expected?: string; found?: string },
  ): never {
    throw new Damage({ code, file: this.file, offset, ...facts });
  }

  private number(i: number, field: number): number {
    return readU64(this.entries, i * ENTRY_BYTES + field);
  }

  private hex(i: number, field: number): string {
    return toHex(this.entries, i * ENTRY_BYTES + field, i * ENTRY_BYTES + field + 32);
  }

  /** `length` bytes from `start`; the buffer is used again by the next read. */
  private read(start: number, length: number): Uint8Array {
    if (length > this.piece.length) this.piece = new Uint8Array(Math.max(length, 64 * 1024));
    for (let done = 0; done < length; ) {
      const got = readSync(this.fd, this.piece, done, length - done, start + done);
      if (got === 0) this.bad("SEGMENT_SHORT", start + done, { what: "the segment is cut" });
      done += got;
    }
    return this.piece.subarray(0, length);
  }
}
