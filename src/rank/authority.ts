/**
 * Whoever holds the ledger key and so decides who is let in: the ranks themselves, or the storage
 * validator under another user (`--validator`), which certifies what its policy allows.
 */
import type { KeyObject } from "node:crypto";
import { certifyMember, signMessage } from "../ledger/keys.ts";
import type { Member } from "../ledger/settlement.ts";
import { restartMessage, type StatementPlace } from "../ledger/statements.ts";
import type { Certifiable } from "../storage/certifiable.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";

/** A member that is not certified yet, or no longer, since its number changed. */
export type BareMember = Certifiable;

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
    return members.map(({ rank, incarnation, publicKey, host }) =>
      certifyMember(this.ledgerKey, this.chainId, { rank, incarnation, publicKey, host }),
    );
  }

  signRestart(place: StatementPlace, prevHash: Uint8Array, members: readonly Member[]) {
    return signMessage(this.ledgerKey, restartMessage(place, prevHash, members));
  }
}

/** The storage validator, behind the storage that it serves. */
export class ValidatorAuthority implements Authority {
  private readonly storage: Required<Pick<LedgerStorage, "certify" | "signRestart">>;

  constructor(storage: Required<Pick<LedgerStorage, "certify" | "signRestart">>) {
    this.storage = storage;
  }

  certify(members: readonly BareMember[]): Promise<readonly Member[]> {
    return this.storage.certify(members);
  }

  signRestart({ epoch }: StatementPlace, prevHash: Uint8Array, members: readonly Member[]) {
    return this.storage.signRestart(epoch, prevHash, members);
  }
}
