/**
 * Key-value records: an index by entry hash and an arena that holds each record in one piece.
 *
 *     u32 size class | u32 fieldCount | u32 entryBytes | fieldCount × u32 offset of a field | entry
 *     entry: u16 keyBytes + 1 | 0x01 | key | u32 valueBytes | fields sorted by name
 *     field: u8 nameBytes | name | u32 valueBytes | value        (offsets count from the record)
 *
 * The entry is what the state root hashes, byte for byte, so nothing is ever encoded anew. The offsets
 * let an update go straight to its field: a cold record costs two or three cache misses, not one a field.
 *
 * Values that keep their length are overwritten by native/execution.h; here records come, go and change
 * their shape.
 */
import { equalRange, writeU32 } from "../base/bytes.ts";
import { copyRange } from "../base/copy.ts";
import { kernels } from "../base/kernels.ts";
import { Arena, classOf, UNIT_BYTES } from "./arena.ts";
import { ENTRY } from "./entry-hash.ts";
import { FieldPlan, RECORD_HEAD_BYTES } from "./field-plan.ts";
import { RecordsIndex } from "./records-index.ts";
import { FIELD_HEADER_BYTES } from "./transaction.ts";

/** u16 keyBytes + 1, and the prefix. */
const KEY_AT = 3;
export class RecordsTable {
  arena = new Arena();
  readonly index = new RecordsIndex();
  /** Where the last look-up ended in the index. */
  #place = 0;
  // The transactions that are being executed.
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  readonly #plan = new FieldPlan();
  /** Values of the record that is being written: source, destination, length of each. */
  #values = new Uint32Array(3 * 16);

  /** Source of keys and fields until the next `begin`. */
  begin(bytes: Uint8Array, view: DataView): void {
    this.#bytes = bytes;
    this.#view = view;
  }

  /** Unit of the record under the key, or 0. */
  find(hash: number, bytes: Uint8Array, keyOffset: number, keyBytes: number): number {
    const index = this.index;
    const slots = index.slots;
    let place = index.home(hash);
    let unit = slots[place + 1];
    while (unit !== 0) {
      if (slots[place] === hash && this.#hasKey(unit, bytes, keyOffset, keyBytes)) break;
      place = index.next(place);
      unit = slots[place + 1];
    }
    this.#place = place;
    return unit;
  }

  /** Upsert of a whole record. Answers whether the key is new. */
  insert(
    hash: number,
    keyOffset: number,
    keyBytes: number,
    fieldsOffset: number,
    fieldCount: number,
  ): boolean {
    const unit = this.find(hash, this.#bytes, keyOffset, keyBytes);
    this.#plan.takeFields(this.#bytes, this.#view, fieldsOffset, fieldCount);
    this.#write(unit, hash, keyOffset, keyBytes);
    return unit === 0;
  }

  /** Merges fields into a record. Answers false when there is none. */
  update(
    hash: number,
    keyOffset: number,
    keyBytes: number,
    fieldsOffset: number,
    fieldCount: number,
  ): boolean {
    const unit = this.find(hash, this.#bytes, keyOffset, keyBytes);
    if (unit === 0) return false;
    this.#plan.takeFields(this.#bytes, this.#view, fieldsOffset, fieldCount);
    this.#plan.mergeInto(this.arena.memory, unit, this.#bytes);
    this.#write(unit, hash, keyOffset, keyBytes);
    return true;
  }

  /** Answers whether there was a record. */
  delete(hash: number, keyOffset: number, keyBytes: number): boolean {
    const unit = this.find(hash, this.#bytes, keyOffset, keyBytes);
    if (unit === 0) return false;
    this.arena.free(unit, this.arena.memory.words[4 * unit]);
    this.index.clear(this.#place);
    return true;
  }

  /** Offset in the arena of the entry of a record; its length is entryBytes(unit). */
  entryOffset(unit: number): number {
    return UNIT_BYTES * unit + RECORD_HEAD_BYTES + 4 * this.arena.memory.words[4 * unit + 1];
  }

  entryBytes(unit: number): number {
    return this.arena.memory.words[4 * unit + 2];
  }

  /** Copies of the fields of a record, sorted by name. */
  fields(unit: number): Array<{ name: Uint8Array; value: Uint8Array }> {
    const { bytes, words, view } = this.arena.memory;
    const fields = [];
    for (let i = 0; i < words[4 * unit + 1]; i++) {
      const at = UNIT_BYTES * unit + words[4 * unit + 3 + i];
      const valueAt = at + 5 + bytes[at];
      const valueBytes = view.getInt32(valueAt - 4, true);
      fields.push({
        name: bytes.slice(at + 1, at + 1 + bytes[at]),
        value: bytes.slice(valueAt, valueAt + valueBytes),
      });
    }
    return fields;
  }

  forEachKey(visit: (bytes: Uint8Array, offset: number, keyBytes: number) => void): void {
    const bytes = this.arena.memory.bytes;
    const slots = this.index.slots;
    for (let place = 0; place < slots.length; place += 2) {
      if (slots[place + 1] === 0) continue;
      const at = this.entryOffset(slots[place + 1]);
      visit(bytes, at + KEY_AT, (bytes[at] | (bytes[at + 1] << 8)) - 1);
    }
  }

  get bytes(): number {
    return this.arena.usedBytes() + this.index.slots.byteLength;
  }

  /** Moves everything together when more lies free than is used. Units change. */
  compact(): void {
    if (!this.arena.isSparse()) return;
    const from = this.arena;
    const to = new Arena();
    const slots = this.index.slots;
    for (let place = 0; place < slots.length; place += 2) {
      const unit = slots[place + 1];
      if (unit === 0) continue;
      const words = from.memory.words;
      const bytes = RECORD_HEAD_BYTES + 4 * words[4 * unit + 1] + words[4 * unit + 2];
      const moved = to.allocate(words[4 * unit]);
      const at = UNIT_BYTES * unit;
      to.memory.bytes.set(from.memory.bytes.subarray(at, at + bytes), UNIT_BYTES * moved);
      slots[place + 1] = moved;
    }
    this.arena = to;
  }

  #hasKey(unit: number, bytes: Uint8Array, keyOffset: number, keyBytes: number): boolean {
    const memory = this.arena.memory;
    const own = memory.bytes;
    const at = UNIT_BYTES * unit + RECORD_HEAD_BYTES + 4 * memory.words[4 * unit + 1];
    if ((own[at] | (own[at + 1] << 8)) !== keyBytes + 1) return false;
    return equalRange(own, at + KEY_AT, bytes, keyOffset, keyBytes);
  }

  /** Writes the planned fields under the source's key, over record `old` or (0) as a new one. */
  #write(old: number, hash: number, keyOffset: number, keyBytes: number): void {
    const { count, places } = this.#plan;
    const valueBytes = this.#plan.fieldsBytes(this.#bytes, this.#view);
    const entryBytes = KEY_AT + keyBytes + 4 + valueBytes;
    const sizeClass = classOf((RECORD_HEAD_BYTES + 4 * count + entryBytes + UNIT_BYTES - 1) >>> 4);
    let unit = old;
    if (old === 0 || this.arena.memory.words[4 * old] !== sizeClass) {
      if (old !== 0) this.arena.free(old, this.arena.memory.words[4 * old]);
      unit = this.arena.allocate(sizeClass);
      if (old === 0) this.index.fill(this.#place, hash, unit);
      else this.index.slots[this.#place + 1] = unit;
    }
    const { bytes, words } = this.arena.memory;
    words[4 * unit] = sizeClass;
    words[4 * unit + 1] = count;
    words[4 * unit + 2] = entryBytes;
    const start = UNIT_BYTES * unit;
    let at = start + RECORD_HEAD_BYTES + 4 * count;
    bytes[at] = keyBytes + 1;
    bytes[at + 1] = (keyBytes + 1) >>> 8;
    bytes[at + 2] = ENTRY.record;
    at += KEY_AT;
    for (let i = 0; i < keyBytes; i++) bytes[at + i] = this.#bytes[keyOffset + i];
    at += keyBytes;
    writeU32(bytes, at, valueBytes);
    at += 4;
    if (this.#values.length < 3 * count) this.#values = new Uint32Array(6 * count);
    let values = 0;
    for (let i = 0; i < count; i++) {
      words[4 * unit + 3 + i] = at - start;
      const place = places[i];
      at = place >= 0 ? this.#writeField(at, place, values++) : this.#writeOldField(at, ~place);
    }
    if (values > 0) kernels.scatter(this.#bytes, bytes, this.#values, values);
  }

  /** All but the value, which is noted as number `value`. */
  #writeField(to: number, source: number, value: number): number {
    const bytes = this.arena.memory.bytes;
    const nameBytes = this.#bytes[source];
    const valueBytes = this.#view.getInt32(source + 1, true);
    bytes[to] = nameBytes;
    for (let i = 0; i < nameBytes; i++) {
      bytes[to + 1 + i] = this.#bytes[source + FIELD_HEADER_BYTES + i];
    }
    writeU32(bytes, to + 1 + nameBytes, valueBytes);
    this.#values[3 * value] = source + FIELD_HEADER_BYTES + nameBytes;
    this.#values[3 * value + 1] = to + 5 + nameBytes;
    this.#values[3 * value + 2] = valueBytes;
    return to + 5 + nameBytes + valueBytes;
  }

  #writeOldField(to: number, from: number): number {
    const fieldBytes = this.#plan.oldFieldBytes(from);
    copyRange(this.#plan.old, from, fieldBytes, this.arena.memory.bytes, to);
    return to + fieldBytes;
  }
}
