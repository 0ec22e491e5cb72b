/**
 * S13: receipts are linearizable. The order is that of the log, and each transaction takes effect at
 * its first place in it; what is asked is that this place lies between the moment in which somebody
 * first submitted it and the moment in which anybody was told, and that everybody is told the same.
 */
import { OUTCOME, outcomeName } from "../ledger/receipt.ts";
import type { LoggedTransaction } from "./log-oracle.ts";
import { Violation } from "./trace.ts";

export class ReceiptHistory {
  /** txnID → the newest durable slot when it was first submitted. */
  private readonly submitted = new Map<string, number>();
  /** txnID → outcome that was told as final first. */
  private readonly first = new Map<string, number>();

  submit(id: string, headSlot: number): void {
    if (!this.submitted.has(id)) this.submitted.set(id, headSlot);
  }

  /** It is in the log, durably, with this outcome among its outcomes. */
  told(id: string, outcome: number, logged: LoggedTransaction): void {
    const before = this.submitted.get(id);
    if (before !== undefined && logged.slots[0] <= before)
      throw new Violation(
        "S13",
        `${id.slice(0, 8)} is in slot ${logged.slots[0]}, and was submitted when slot ${before} was there`,
      );
    // "The first receipt stands": says nothing of its own.
    if (outcome === OUTCOME.DUPLICATE) return;
    const first = this.first.get(id) ?? outcome;
    this.first.set(id, first);
    if (outcome !== first || outcome !== logged.outcomes[0])
      throw new Violation(
        "S13",
        `${id.slice(0, 8)} is told to be ${outcomeName(outcome)}, and it was ${outcomeName(logged.outcomes[0])} in the order of the log`,
      );
  }
}
