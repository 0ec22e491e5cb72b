/** Records for storage tests: slot, parent, payload and a checksum, judged like real ones. */
import { equalBytes, readU64, writeU64 } from "../../src/base/bytes.ts";
import { sha256 } from "../../src/base/sha256.ts";
import type { NewRecord } from "../../src/storage/shared-log.ts";
import type { Judge } from "../../src/storage/storage-context.ts";

export const ZERO_HASH = new Uint8Array(32);

export function toyRecord(
  slot: number,
  prevHash: Uint8Array,
  payload: Uint8Array | string,
): NewRecord {
  const header = new Uint8Array(40);
  writeU64(header, 0, slot);
  header.set(prevHash, 8);
  const body = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const hash = sha256(header, body);
  return { slot, prevHash, hash, parts: [header, body, hash] };
}

export const judgeToy: Judge = (bytes, place) => {
  if (bytes.length < 72) return { intact: false, byte: bytes.length, reason: "it is too short" };
  const end = bytes.length - 32;
  const hash = sha256(bytes.subarray(0, end));
  if (!equalBytes(hash, bytes.subarray(end))) {
    return { intact: false, byte: 40, reason: "its checksum does not match" };
  }
  const fits =
    readU64(bytes, 0) === place.slot && equalBytes(bytes.subarray(8, 40), place.prevHash);
  if (!fits) return { intact: false, byte: 0, reason: "it belongs to another place" };
  return { intact: true, hash };
};

export function payloadOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(40, bytes.length - 32));
}
