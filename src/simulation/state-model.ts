/**
 * What a ledger must do to its state, written again from protocol.md with maps and objects: slow,
 * short and without a line of the production state. Execution, the memory of transactions, the
 * chain of blocks and the digest of effects; a rank whose digest agrees did the same.
 */
import { toHex, writeU64 } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import { OUTCOME } from "../ledger/receipt.ts";
import type { Transaction } from "../ledger/transaction-object.ts";
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";

interface Remembered {
  readonly id: string;
  readonly sender: number;
  readonly sequence: number;
}

export class StateModel {
  readonly balances = new Map<number, number>();
  /** Key (hex) → field name (hex) → value (hex). */
  readonly records = new Map<string, Map<string, string>>();
  private readonly remembered = new Map<string, Remembered>();
  /** Last valid round → names of what is remembered until then. */
  private readonly expiring = new Map<number, string[]>();
  private readonly floors = new Map<number, number>();
  private effects: Uint8Array = new Uint8Array(32);
  private effectsOfRound: Uint8Array[] = [];
  private tip: Uint8Array;
  height = 0;

  constructor(supply: number, genesisHash: Uint8Array) {
    this.balances.set(0, supply);
    this.tip = genesisHash;
  }

  get effectsDigest(): string {
    return toHex(this.effects);
  }

  /** Chains the block and executes it: an outcome a transaction. */
  block(hash: Uint8Array, transactions: readonly Transaction[], round: number): number[] {
    const height = new Uint8Array(8);
    writeU64(height, 0, ++this.height);
    this.tip = sha256(hash, this.tip, height);
    const outcomes = transactions.map((transaction) => this.execute(transaction, round));
    this.effectsOfRound.push(this.tip, Uint8Array.from(outcomes));
    return outcomes;
  }

  endRound(round: number): void {
    const number = new Uint8Array(8);
    writeU64(number, 0, round);
    this.effects = sha256(this.effects, number, ...this.effectsOfRound);
    this.effectsOfRound = [];
    // Rounds end one after the other: nothing expires in between.
    for (const name of this.expiring.get(round) ?? []) {
      const { sender, sequence } = this.remembered.get(name)!;
      this.remembered.delete(name);
      this.floors.set(sender, Math.max(this.floors.get(sender) ?? -1, sequence));
    }
    this.expiring.delete(round);
  }

  total(): number {
    return [...this.balances.values()].reduce((sum, balance) => sum + balance, 0);
  }

  private execute(transaction: Transaction, round: number): number {
    const { senderID, sequence, lastValidRound, txnID } = transaction;
    if (round > lastValidRound) return OUTCOME.EXPIRED;
    if (lastValidRound > round + VALIDITY_ROUNDS_MAX) return OUTCOME.BEYOND_WINDOW;
    const name = `${senderID}:${sequence}`;
    const known = this.remembered.get(name);
    if (known !== undefined) return known.id === txnID ? OUTCOME.DUPLICATE : OUTCOME.SEQUENCE_USED;
    if (sequence <= (this.floors.get(senderID) ?? -1)) return OUTCOME.SEQUENCE_OLD;
    this.remembered.set(name, { id: txnID, sender: senderID, sequence });
    const sameRound = this.expiring.get(lastValidRound);
    if (sameRound !== undefined) sameRound.push(name);
    else this.expiring.set(lastValidRound, [name]);
    return this.operate(transaction);
  }

  private operate(transaction: Transaction): number {
    const { kind, senderID, receiverID, txnAmount, key, fields } = transaction;
    const name = toHex(key);
    switch (kind) {
      case "transfer": {
        const balance = this.balances.get(senderID) ?? 0;
        if (balance < txnAmount) return OUTCOME.OVERDRAFT;
        this.balances.set(senderID, balance - txnAmount);
        this.balances.set(receiverID, (this.balances.get(receiverID) ?? 0) + txnAmount);
        return OUTCOME.OK;
      }
      case "insert":
      case "update": {
        const before = kind === "update" ? this.records.get(name) : new Map<string, string>();
        if (before === undefined) return OUTCOME.NO_SUCH_KEY;
        for (const field of fields) before.set(toHex(field.name), toHex(field.value));
        this.records.set(name, before);
        return OUTCOME.OK;
      }
      case "delete":
        return this.records.delete(name) ? OUTCOME.OK : OUTCOME.NO_SUCH_KEY;
      case "record":
        return OUTCOME.OK;
    }
  }
}
