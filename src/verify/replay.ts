/**
 * Executes transactions a second time on plain Maps, by the rules of the specification and with
 * none of the writer's code: outcomes, balances, records, the digest of effects and the state root.
 * One thread, no I/O.
 */
import { readU16, readU48, readU64, writeU64 } from "../base/bytes.ts";
import { REMEMBERED_TXNS_MAX, VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { sha256 } from "./genesis-reader.ts";
import { OP, OUTCOME, TXN } from "./layout.ts";
import { type Fields, mergeFields, sortFields } from "./record-fields.ts";
import { Remembered } from "./remembered.ts";
import { StateBuckets } from "./state-buckets.ts";

const AT = TXN.at;

export class Replay {
  readonly balances = new Map<number, number>();
  /** Record key (latin1) → its fields in canonical order, encoded. */
  readonly records = new Map<string, Uint8Array>();
  effectsDigest: Uint8Array = new Uint8Array(32);
  private readonly remembered = new Remembered();
  private buckets: StateBuckets | undefined;
  private readonly changedAccounts = new Set<number>();
  private readonly changedKeys = new Set<string>();
  private readonly txn = { sender: 0, sequence: 0, lastValidRound: 0 };

  constructor(supply: number) {
    if (supply > 0) this.balances.set(0, supply);
    this.changedAccounts.add(0);
  }

  /** Runs the transaction at `bytes[offset..offset+length)`, whose structure was checked before. */
  execute(
    bytes: Uint8Array,
    span: { offset: number; length: number },
    ids: Uint8Array,
    idOffset: number,
    round: number,
  ): number {
    const { offset } = span;
    const { txn, remembered } = this;
    txn.lastValidRound = readU48(bytes, offset + AT.lastValidRound);
    if (round > txn.lastValidRound) return OUTCOME.expired;
    if (txn.lastValidRound > round + VALIDITY_ROUNDS_MAX) return OUTCOME.beyondWindow;
    txn.sender = readU64(bytes, offset + AT.sender);
    txn.sequence = readU64(bytes, offset + AT.sequence);
    const slot = remembered.find(txn.sender, txn.sequence);
    if (slot >= 0) {
      return remembered.holds(slot, ids, idOffset) ? OUTCOME.duplicate : OUTCOME.sequenceUsed;
    }
    if (txn.sequence <= (remembered.floors.get(txn.sender) ?? -1)) return OUTCOME.sequenceOld;
    if (remembered.count >= REMEMBERED_TXNS_MAX) return OUTCOME.windowFull;
    const outcome = this.apply(bytes, offset, span.length);
    remembered.add(txn, ids, idOffset);
    return outcome;
  }

  private apply(bytes: Uint8Array, offset: number, length: number): number {
    const kind = bytes[offset + AT.kind];
    if (kind === OP.transfer) return this.transfer(bytes, offset);
    if (kind === OP.record) return OUTCOME.ok;
    const keyEnd = offset + TXN.headBytes + bytes[offset + AT.keyBytes];
    const key = latin1(bytes, offset + TXN.headBytes, keyEnd);
    const old = this.records.get(key);
    if (kind === OP.delete) {
      if (old === undefined) return OUTCOME.noSuchKey;
      this.records.delete(key);
    } else {
      const fields: Fields = {
        bytes: bytes.subarray(keyEnd, offset + length),
        count: readU16(bytes, offset + AT.fieldCount),
      };
      if (kind === OP.insert) this.records.set(key, sortFields(fields));
      else if (old === undefined) return OUTCOME.noSuchKey;
      else this.records.set(key, mergeFields(old, fields));
    }
    this.changedKeys.add(key);
    return OUTCOME.ok;
  }

  private transfer(bytes: Uint8Array, offset: number): number {
    const { sender } = this.txn;
    const receiver = readU64(bytes, offset + AT.receiver);
    const amount = readU64(bytes, offset + AT.amount);
    const balance = this.balances.get(sender) ?? 0;
    if (balance < amount) return OUTCOME.overdraft;
    if (balance === amount) this.balances.delete(sender);
    else this.balances.set(sender, balance - amount);
    this.balances.set(receiver, (this.balances.get(receiver) ?? 0) + amount);
    this.changedAccounts.add(sender);
    this.changedAccounts.add(receiver);
    return OUTCOME.ok;
  }

  /** Ends a round: `effects` holds, per block in order, its chain hash and its outcomes. */
  endRound(round: number, effects: Uint8Array): void {
    this.remembered.forget(round);
    const number = new Uint8Array(8);
    writeU64(number, 0, round);
    this.effectsDigest = sha256(this.effectsDigest, number, effects);
  }

  totalBalance(): number {
    let total = 0;
    for (const balance of this.balances.values()) total += balance;
    return total;
  }

  rememberedCount(): number {
    return this.remembered.count;
  }

  /** The state root; costs what changed since it was asked for last. */
  stateRoot(): Uint8Array {
    this.buckets ??= new StateBuckets();
    for (const key of this.changedKeys) this.buckets.put(`\x01${key}`, this.records.get(key));
    for (const account of this.changedAccounts) {
      const balance = this.balances.get(account);
      this.buckets.put(`\x02${u64Text(account)}`, balance === undefined ? balance : u64(balance));
    }
    for (const sender of this.remembered.movedFloors) {
      this.buckets.put(`\x03${u64Text(sender)}`, u64(this.remembered.floors.get(sender)!));
    }
    this.changedKeys.clear();
    this.changedAccounts.clear();
    this.remembered.movedFloors.clear();
    return sha256("baash state\n", this.buckets.root(), this.effectsDigest);
  }
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(bytes, 0, value);
  return bytes;
}

function u64Text(value: number): string {
  return Buffer.from(u64(value)).toString("latin1");
}
