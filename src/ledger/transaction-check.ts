/**
 * Judges transactions by their bytes and the chain alone, as execution and everybody else needs them to
 * be; natively (native/transactions.h), since each rank judges every transaction.
 */
import { kernels } from "../base/kernels.ts";
import { TXN_BYTES_MAX } from "../limits.ts";
import { VERDICT, type Verdict } from "./verdict.ts";

const span = new Uint32Array(2);
const verdict = new Uint8Array(1);

/** Of one. Never reads outside [offset, offset + length). */
export function checkTransaction(
  bytes: Uint8Array,
  offset: number,
  length: number,
  chainId: Uint8Array,
): Verdict {
  if (length > TXN_BYTES_MAX) return VERDICT.TOO_LARGE;
  if (offset + length > bytes.length) return VERDICT.TRUNCATED;
  span[0] = offset;
  span[1] = length;
  kernels.checkTransactions(bytes, span, 0, 1, chainId, verdict);
  return verdict[0] as Verdict;
}
