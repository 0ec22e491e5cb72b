/**
 * The state once more, slowly and obviously: maps of strings, everything hashed anew for each root.
 * It shares no code with the state under test: the format is written out here.
 */
import { createHash } from "node:crypto";

export type Operation =
  | { kind: "transfer"; to: number; amount: number }
  | { kind: "insert" | "update"; key: string; fields: Array<[string, string]> }
  | { kind: "delete"; key: string }
  | { kind: "record"; key: string; payload: string };

export interface ModelTransaction {
  sender: number;
  sequence: number;
  lastValidRound: number;
  operation: Operation;
}

const KINDS = { transfer: 1, insert: 2, update: 3, delete: 4, record: 5 };

export function sha256(...parts: Uint8Array[]): Buffer<ArrayBufferLike> {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function number(value: number, bytes: number): Buffer<ArrayBufferLike> {
  const out = Buffer.alloc(bytes);
  let rest = BigInt(value);
  for (let i = 0; i < bytes; i++) {
    out[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  return out;
}

/** Text in tests is Latin-1: one character is one byte. */
export function latin(text: string): Buffer<ArrayBufferLike> {
  return Buffer.from(text, "latin1");
}

export function encode(txn: ModelTransaction): Buffer<ArrayBufferLike> {
  const { operation: op } = txn;
  const key = op.kind === "transfer" ? Buffer.alloc(0) : latin(op.key);
  const fields = op.kind === "insert" || op.kind === "update" ? op.fields : [];
  const parts = [
    number(KINDS[op.kind], 1),
    number(key.length, 1),
    number(fields.length, 2),
    Buffer.alloc(16, 7),
    number(txn.sender, 8),
    number(txn.sequence, 8),
    number(txn.lastValidRound, 6),
    number(1_700_000_000_000, 6),
    key,
  ];
  if (op.kind === "transfer") parts.push(number(op.to, 8), number(op.amount, 8));
  for (const [name, value] of fields) {
    parts.push(number(name.length, 1), number(value.length, 4), latin(name), latin(value));
  }
  if (op.kind === "record") parts.push(latin(op.payload));
  return Buffer.concat(parts);
}

export function txnID(txn: ModelTransaction): Buffer<ArrayBufferLike> {
  return sha256(Buffer.from([0]), encode(txn));
}

function bucketOf(key: Buffer): number {
  let h = 0x811c9dc5n;
  for (const byte of key) h = ((h ^ BigInt(byte)) * 0x01000193n) & 0xffffffffn;
  h ^= h >> 16n;
  h = (h * 0x85ebca6bn) & 0xffffffffn;
  h ^= h >> 13n;
  h = (h * 0xc2b2ae35n) & 0xffffffffn;
  h ^= h >> 16n;
  return Number(h >> 16n);
}

/** Roots of empty subtrees by height: spares the model 65535 hashes a root. */
const EMPTY: Uint8Array[] = [Buffer.alloc(32)];
for (let height = 1; height <= 16; height++) {
  EMPTY.push(sha256(Buffer.from([1]), EMPTY[height - 1], EMPTY[height - 1]));
}

export class ModelState {
  readonly records = new Map<string, Map<string, string>>();
  readonly balances = new Map<number, number>();
  readonly floors = new Map<number, number>();
  readonly remembered = new Map<
    string,
    { sender: number; sequence: number; id: string; outcome: number; lastValidRound: number }
  >();
  effectsDigest: Buffer<ArrayBufferLike> = Buffer.alloc(32);
  #effects: Buffer<ArrayBufferLike>[] = [];

  constructor(
    supply: number,
    readonly validityRoundsMax: number,
  ) {
    this.balances.set(0, supply);
  }

  executeBlock(transactions: ModelTransaction[], round: number, chainHash: Uint8Array): number[] {
    const outcomes = transactions.map((txn) => this.#execute(txn, round));
    this.#effects.push(Buffer.concat([chainHash, Buffer.from(outcomes)]));
    return outcomes;
  }

  endRound(round: number): void {
    this.effectsDigest = sha256(this.effectsDigest, number(round, 8), ...this.#effects);
    this.#effects = [];
    for (const [key, entry] of [...this.remembered]) {
      if (entry.lastValidRound > round) continue;
      this.remembered.delete(key);
      const floor = this.floors.get(entry.sender) ?? -1;
      this.floors.set(entry.sender, Math.max(floor, entry.sequence));
    }
  }

  root(): Buffer<ArrayBufferLike> {
    const buckets = new Map<number, Array<{ key: Buffer; value: Buffer }>>();
    for (const { key, value } of this.#entries()) {
      const bucket = bucketOf(key);
      buckets.set(bucket, [...(buckets.get(bucket) ?? []), { key, value }]);
    }
    let level = new Map<number, Buffer>();
    for (const [bucket, entries] of buckets) {
      entries.sort((a, b) => Buffer.compare(a.key, b.key));
      const parts = entries.flatMap(({ key, value }) => [
        number(key.length, 2),
        key,
        number(value.length, 4),
        value,
      ]);
      level.set(bucket, sha256(...parts));
    }
    for (let height = 0; height < 16; height++) {
      const above = new Map<number, Buffer>();
      for (const node of level.keys()) {
        const parent = node >> 1;
        const left = level.get(2 * parent) ?? EMPTY[height];
        const right = level.get(2 * parent + 1) ?? EMPTY[height];
        above.set(parent, sha256(Buffer.from([1]), left, right));
      }
      level = above;
    }
    return sha256(Buffer.from("baash state\n"), level.get(0) ?? EMPTY[16], this.effectsDigest);
  }

  sortedFields(key: string): Array<[string, string]> | undefined {
    const record = this.records.get(key);
    return record && [...record].sort(([a], [b]) => Buffer.compare(latin(a), latin(b)));
  }

  sortedKeys(): string[] {
    return [...this.records.keys()].sort((a, b) => Buffer.compare(latin(a), latin(b)));
  }

  *#entries(): Generator<{ key: Buffer; value: Buffer }> {
    for (const key of this.records.keys()) {
      const value = (this.sortedFields(key) ?? []).flatMap(([name, data]) => [
        number(name.length, 1),
        latin(name),
        number(data.length, 4),
        latin(data),
      ]);
      yield { key: Buffer.concat([Buffer.from([1]), latin(key)]), value: Buffer.concat(value) };
    }
    for (const [account, balance] of this.balances) {
      if (balance === 0) continue;
      const key = Buffer.concat([Buffer.from([2]), number(account, 8)]);
      yield { key, value: number(balance, 8) };
    }
    for (const [sender, floor] of this.floors) {
      yield { key: Buffer.concat([Buffer.from([3]), number(sender, 8)]), value: number(floor, 8) };
    }
  }

  #execute(txn: ModelTransaction, round: number): number {
    const { sender, sequence, lastValidRound } = txn;
    if (round > lastValidRound) return 5;
    if (lastValidRound > round + this.validityRoundsMax) return 8;
    const id = txnID(txn).toString("hex");
    const known = this.remembered.get(`${sender}/${sequence}`);
    if (known !== undefined) return known.id === id ? 1 : 3;
    if (sequence <= (this.floors.get(sender) ?? -1)) return 4;
    const outcome = this.#operate(sender, txn.operation);
    const entry = { sender, sequence, id, outcome, lastValidRound };
    this.remembered.set(`${sender}/${sequence}`, entry);
    return outcome;
  }

  #operate(sender: number, op: Operation): number {
    switch (op.kind) {
      case "transfer": {
        const balance = this.balances.get(sender) ?? 0;
        if (balance < op.amount) return 2;
        this.balances.set(sender, balance - op.amount);
        this.balances.set(op.to, (this.balances.get(op.to) ?? 0) + op.amount);
        return 0;
      }
      case "insert":
        this.records.set(op.key, new Map(op.fields));
        return 0;
      case "update": {
        const record = this.records.get(op.key);
        if (record === undefined) return 6;
        for (const [name, value] of op.fields) record.set(name, value);
        return 0;
      }
      case "delete":
        return this.records.delete(op.key) ? 0 : 6;
      case "record":
        return 0;
    }
  }
}
