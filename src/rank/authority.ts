/**
 * Whoever holds the ledger key and so decides who is let in: the ranks themselves, or the storage
 * validator under another user (`--validator`), which certifies what its policy allows.
 */
import type { KeyObject } from "node:crypto";
import { certifyMember, signMessage } from "../ledger/keys.ts";
import type { Member } from "../ledger/settlement.ts";
import { restartMessage, type StatementPlace } from "../ledger/statements.ts";

/** A member that is not certified yet, or no longer, since its number changed. */
export type BareMember = Omit<Member, "certificate">;

export interface Authority {
  /** At once where the key is at hand. Rejects with a coded error when it is refused. */
  certify(members: readonly BareMember[]): readonly Member[] | Promise<readonly Member[]>;
  /** Byzantine ledgers: what makes a SEAL of `members` count though no member of `place` wrote it. */
  signRestart(
    place: StatementPlace,
    prevHash: Uint8Array,
    members: readonly Member[],
  ): Uint8Array | Promise<Uint8Array>;
}

export class KeyAuthority implements Authority {
  private readonly ledgerKey: KeyObject;
  private readonly chainId: Uint8Array;

  constructor(ledgerKey: KeyObject, chainId: Uint8Array) {
    this.ledgerKey = ledgerKey;
    this.chainId = chainId;
  }

  certify(members: readonly BareMember[]): readonly Member[] {
    return members.map((member) => certifyMember(this.ledgerKey, this.chainId, member));
  }

  signRestart(place: StatementPlace, prevHash: Uint8Array, members: readonly Member[]) {
    return signMessage(this.ledgerKey, restartMessage(place, prevHash, members));
  }
}
