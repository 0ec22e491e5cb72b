/**
 * What the ledger acknowledged, entry by entry: a txnID and a level byte. A check that runs after
 * faults reads it and asks the ledger for each txnID: none may be missing.
 */
import { OUTCOME } from "../ledger/receipt.ts";
import type { ReceiptBatch } from "../ledger/service.ts";

const TXN_ID_BYTES = 32;
export const JOURNAL_ENTRY_BYTES = TXN_ID_BYTES + 1;
/** Last byte of an entry. */
export const JOURNAL_LEVEL = { AGREED: 1, FINAL: 2 } as const;

export class AcknowledgementJournal {
  readonly #write: (entries: Uint8Array) => void;
  #bytes = new Uint8Array(0);

  constructor(write: (entries: Uint8Array) => void) {
    this.#write = write;
  }

  /** Writes one chunk for a batch of receipts. What expired or was refused was not acknowledged. */
  append(receipts: ReceiptBatch): void {
    const { ids, outcomes, count } = receipts;
    const isFinal = receipts.level === "final";
    const level = isFinal ? JOURNAL_LEVEL.FINAL : JOURNAL_LEVEL.AGREED;
    if (this.#bytes.length < count * JOURNAL_ENTRY_BYTES) {
      this.#bytes = new Uint8Array(2 * count * JOURNAL_ENTRY_BYTES);
    }
    let end = 0;
    for (let i = 0; i < count; i++) {
      if (isFinal && (isTransient(outcomes[i]) || outcomes[i] > OUTCOME.UNKNOWN_SENDER)) continue;
      const start = TXN_ID_BYTES * i;
      for (let j = 0; j < TXN_ID_BYTES; j++) this.#bytes[end + j] = ids[start + j];
      this.#bytes[end + TXN_ID_BYTES] = level;
      end += JOURNAL_ENTRY_BYTES;
    }
    if (end > 0) this.#write(this.#bytes.subarray(0, end));
  }
}

/** Outcomes of a transaction that never takes effect, while the same operation, made anew, can. */
export function isTransient(outcome: number): boolean {
  return (
    outcome === OUTCOME.EXPIRED ||
    outcome === OUTCOME.BEYOND_WINDOW ||
    outcome === OUTCOME.WINDOW_FULL ||
    outcome === OUTCOME.SEQUENCE_OLD
  );
}
