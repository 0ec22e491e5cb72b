/**
 * S13: receipts are linearizable. The order is that of the log, and a transaction takes its effect at
 * the first place where it is judged; what is asked is that it has no place there before somebody
 * submitted it, and that whoever is told anything afterwards is told what it was judged to be.
 */
import { OUTCOME, outcomeName } from "../ledger/receipt.ts";
import type { LoggedTransaction } from "./log-oracle.ts";
import { Violation } from "./trace.ts";

/** Remembered, so that it happens once; all others are refusals, which change nothing. */
const JUDGED: ReadonlySet<number> = new Set([OUTCOME.OK, OUTCOME.OVERDRAFT, OUTCOME.NO_SUCH_KEY]);

export class ReceiptHistory {
  /** txnID → the newest durable slot when it was first submitted. */
  private readonly submitted = new Map<string, number>();

  submit(id: string, headSlot: number): void {
    if (!this.submitted.has(id)) this.submitted.set(id, headSlot);
  }

  /** It is in the log, durably, with this outcome among its outcomes. */
  told(id: string, outcome: number, { slots, outcomes }: LoggedTransaction): void {
    const before = this.submitted.get(id);
    if (before !== undefined && slots[0] <= before)
      throw new Violation(
        "S13",
        `${id.slice(0, 8)} is in slot ${slots[0]}, and was submitted when slot ${before} was there`,
      );
    const judged = outcomes.findIndex((one) => JUDGED.has(one));
    // "The first receipt stands" says nothing of its own; a refusal may have come before.
    if (judged < 0 || outcome === OUTCOME.DUPLICATE || outcome === outcomes[judged]) return;
    if (outcomes.indexOf(outcome) < judged) return;
    const was = outcomeName(outcomes[judged]);
    throw new Violation(
      "S13",
      `${id.slice(0, 8)} is told to be ${outcomeName(outcome)}, and it was ${was} in the order of the log`,
    );
  }
}
