/** What is pushed into a KeyedFifo, and its ids as the Int32 words that the index compares. */
import { assert } from "../base/assert.ts";
import { ID_WORDS } from "./slot-index.ts";

const ID_BYTES = 4 * ID_WORDS;

/** Elements to push. Element i has id ids[32i ..) and payload[spans[2i] .. +spans[2i+1]). */
export interface PushBatch {
  ids: Uint8Array;
  payload: Uint8Array;
  spans: Uint32Array;
  /** The first one to push. */
  from: number;
  /** The end: elements from ≤ i < count are pushed. */
  count: number;
  /** Answers: slots[i] = slot, DUPLICATE or TOO_LARGE; FULL or CLOSED at the index returned. */
  slots: Int32Array;
  /** For user word 0 of each; 0 when left out. */
  owner?: number;
  /** For user word 1; 0 when left out. */
  tags?: Int32Array;
  /** For user time 0; 0 when left out. */
  times?: Float64Array;
}

/** The ids of a batch as words; a copy when they are not aligned. Asserts the batch's ranges. */
export function wordsOfBatch(b: PushBatch): Int32Array {
  const { ids, spans, payload, from, count } = b;
  assert(ID_BYTES * count <= ids.length, "each element has an id");
  for (let i = from; i < count; i++) {
    assert(spans[2 * i] + spans[2 * i + 1] <= payload.length, "spans lie in the payload");
  }
  const words = ID_WORDS * count;
  if (ids.byteOffset % 4 === 0) return new Int32Array(ids.buffer, ids.byteOffset, words);
  const copy = new Uint8Array(4 * words);
  copy.set(ids.subarray(0, 4 * words));
  return new Int32Array(copy.buffer);
}

const ID = new Int32Array(ID_WORDS);

/** One id of any alignment as words, valid until the next call in this thread. */
export function wordsOfId(id: Uint8Array, offset: number): Int32Array {
  assert(offset >= 0 && offset + ID_BYTES <= id.length, "an id has 32 bytes");
  // Words are put together here: bytes stored one by one and loaded as words stall the processor.
  for (let i = 0, at = offset; i < ID_WORDS; i++, at += 4) {
    ID[i] = id[at] | (id[at + 1] << 8) | (id[at + 2] << 16) | (id[at + 3] << 24);
  }
  return ID;
}
