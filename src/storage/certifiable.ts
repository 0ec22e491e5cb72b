import type { Member } from "../ledger/settlement.ts";

/** A member that asks for a certificate. */
export interface Certifiable extends Omit<Member, "certificate"> {
  /** As it was certified before, under another number perhaps. */
  readonly former?: { readonly rank: number; readonly certificate: Uint8Array } | undefined;
  /** Or: a signature of its own key. */
  readonly proof?: Uint8Array | undefined;
}
