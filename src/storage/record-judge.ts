import { BaashError, EXIT } from "../base/errors.ts";
import { checkRecordBytes, recordHash } from "../ledger/record.ts";
import { VERDICT, verdictName } from "../ledger/verdict.ts";

/** The storage's own look at a record: is it intact, and is it what its name says. */
export function judgeRecordFile(bytes: Uint8Array, place: { slot: number; prevHash: Uint8Array }) {
  const verdict = checkRecordBytes(bytes, 0, bytes.length, place);
  if (verdict === VERDICT.OK) return { intact: true as const, hash: recordHash(bytes) };
  if (verdict === VERDICT.UNKNOWN_VERSION) {
    throw new BaashError(
      "RECORD_VERSION",
      `The record of slot ${place.slot} has a version that this program does not know. Use the program that wrote it, or a newer one.`,
      { exitCode: EXIT.configuration, data: { slot: place.slot } },
    );
  }
  return { intact: false as const, byte: 0, reason: verdictName(verdict) };
}
