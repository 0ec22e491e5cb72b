/**
 * The state of the ledger: records by key, balances by account, and what is remembered of each sender.
 * Runs on one thread. Deterministic: the same blocks in the same order give the same outcomes, digest
 * of effects and root on every rank, whatever the size of its tables.
 *
 * Blocks are executed natively (native-execution.ts, native/execution.h) but for the operations that
 * change the shape of a table, which are here. Nothing makes an object, closure or view per transaction.
 */
import { assert } from "../base/assert.ts";
import { writeU64 } from "../base/bytes.ts";
import { copyRange } from "../base/copy.ts";
import { kernels } from "../base/kernels.ts";
import { REMEMBERED_TXNS_MAX, VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { ENTRY, hashKey } from "./entry-hash.ts";
import { KeyOrder } from "./key-order.ts";
import { NativeExecution, type PlacedBlocks } from "./native-execution.ts";
import { NumberTable } from "./number-table.ts";
import { OUTCOME } from "./receipt.ts";
import { RecordsTable } from "./records-table.ts";
import { Remembered } from "./remembered.ts";
import { checkSnapshot, readSnapshot, writeSnapshot } from "./snapshot.ts";
import { StateRoot } from "./state-root.ts";
import { TRANSACTION_KIND, TXN_OFFSET } from "./transaction.ts";

const HIGH = 0x1_0000_0000;
/** Previous digest and u64 round, before the effects of a round. */
const EFFECTS_HEAD_BYTES = 40;

export interface BlocksToExecute extends PlacedBlocks {
  /** In all of them. */
  readonly transactions: number;
  readonly round: number;
  /** Of block i at 32·i. */
  readonly chainHashes: Uint8Array;
  /** Gets the outcomes of all transactions, one after the other. */
  readonly outcomes: Uint8Array;
}

/** A rank whose own transactions may still wait when their last valid round is over. */
export interface ForgettingWatch {
  /** Whether any transaction that is last valid in `round` is of interest. */
  expects(round: number): boolean;
  /**
   * From now on the state cannot say whether this transaction was executed. `id` is valid during the
   * call.
   */
  forgotten(id: Uint8Array, outcome: number): void;
}

export interface StateSize {
  records: number;
  accounts: number;
  senders: number;
  remembered: number;
  bytes: number;
}

export class State {
  /** Transactions executed, by outcome. */
  readonly counts: Float64Array;
  #supply: number;
  #effectsDigest: Uint8Array = new Uint8Array(32);
  /** Effects of the open round: room for the head, then chainHash ‖ outcomes of each block. */
  #effects = new Uint8Array(4096);
  #effectsEnd = EFFECTS_HEAD_BYTES;
  /** The round that blocks were executed in since the last endRound, or -1. */
  #openRound = -1;
  readonly #records = new RecordsTable();
  readonly #balances = new NumberTable(ENTRY.account, 0);
  readonly #floors = new NumberTable(ENTRY.floor, -1);
  forgetting: ForgettingWatch | undefined;
  readonly #forgottenId = new Uint8Array(32);
  readonly #remembered: Remembered;
  readonly #root = new StateRoot(this.#records, [this.#balances, this.#floors]);
  readonly #native: NativeExecution;
  #order: KeyOrder | undefined;
  /** What the last blocks came in, and a view over it. */
  #bytes: Uint8Array = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  readonly #touch = (hash: number) => this.#root.touch(hash);
  readonly #isLive = (bytes: Uint8Array, offset: number, keyBytes: number) =>
    this.#records.find(hashKey(ENTRY.record, bytes, offset, keyBytes), bytes, offset, keyBytes) !==
    0;

  /** `supply` is the balance of account 0 at the start. Tests give a small `rememberedMax`. */
  constructor(options: { supply: number; rememberedMax?: number }) {
    this.#remembered = new Remembered({ countMax: options.rememberedMax ?? REMEMBERED_TXNS_MAX });
    this.#native = new NativeExecution({ ...this.#tables(), dirty: this.#root.dirty });
    this.counts = this.#native.counts;
    assert(Number.isSafeInteger(options.supply) && options.supply >= 0, "supply is an amount");
    this.#supply = options.supply;
    this.#balances.set(0, this.#balances.hash(0), options.supply);
    this.#touch(this.#balances.hash(0));
  }

  /** Executes the transactions of blocks, which have been checked, in order. */
  executeBlocks(blocks: BlocksToExecute): void {
    const { round, count, transactions, chainHashes, outcomes } = blocks;
    assert(round > this.#remembered.through, "a round is executed before it ends");
    assert(this.#openRound < 0 || this.#openRound === round, "one round is executed at a time");
    this.#openRound = round;
    // Rounds that nobody ended were empty: what they would have forgotten goes now.
    if (round > this.#remembered.through + 1) this.#forget(round - 1);
    if (blocks.bytes !== this.#bytes) {
      this.#bytes = blocks.bytes;
      this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    }
    this.#records.begin(this.#bytes, this.#view);
    const effectsOffset = this.#reserveEffects(32 * count + transactions);
    let at = effectsOffset;
    for (let i = 0; i < count; i++) {
      copyRange(chainHashes, 32 * i, 32, this.#effects, at);
      at += 32 + blocks.blocks[4 * i + 2];
    }
    const out = { outcomes, effects: this.#effects, effectsOffset };
    this.#native.execute(blocks, round, out, this.#operate);
  }

  /** Advances the digest of effects over the blocks of the round, forgets, and raises floors. */
  endRound(round: number): void {
    assert(round > this.#remembered.through, "a round ends once");
    assert(this.#openRound < 0 || this.#openRound === round, "the round that ends is the open one");
    const effects = this.#effects;
    effects.set(this.#effectsDigest);
    writeU64(effects, 32, round);
    const digest = new Uint8Array(32);
    kernels.sha256(effects, 0, this.#effectsEnd, digest, 0);
    this.#effectsDigest = digest;
    this.#effectsEnd = EFFECTS_HEAD_BYTES;
    this.#openRound = -1;
    this.#forget(round);
    this.#records.compact();
  }

  /** Changes with every round; the array itself never does. */
  get effectsDigest(): Uint8Array {
    return this.#effectsDigest;
  }

  /** Copies of the fields, sorted by name. */
  read(key: Uint8Array): Array<{ name: Uint8Array; value: Uint8Array }> | undefined {
    const unit = this.#records.find(hashKey(ENTRY.record, key, 0, key.length), key, 0, key.length);
    return unit === 0 ? undefined : this.#records.fields(unit);
  }

  has(key: Uint8Array): boolean {
    return this.#isLive(key, 0, key.length);
  }

  /** Up to `count` keys from `start` on, bytewise. The first scan builds the order. */
  scan(start: Uint8Array, count: number): Uint8Array[] {
    if (this.#order === undefined) {
      this.#order = new KeyOrder();
      this.#records.forEachKey((bytes, at, keyBytes) => this.#order?.append(bytes, at, keyBytes));
      this.#order.sortAll();
    }
    return this.#order.scan(start, count, this.#isLive);
  }

  balance(account: number): number {
    return this.#balances.get(account, this.#balances.hash(account));
  }

  /** Sum of all balances: always the supply. */
  total(): number {
    return this.#balances.sum();
  }

  size(): StateSize {
    return {
      records: this.#records.index.count,
      accounts: this.#balances.live,
      senders: this.#floors.live,
      remembered: this.#remembered.count,
      bytes:
        this.#records.bytes +
        this.#balances.bytes +
        this.#floors.bytes +
        this.#remembered.bytes +
        this.#root.bytes +
        (this.#order?.bytes ?? 0),
    };
  }

  /** Outcome of the transaction, when it is remembered under that txnID. */
  lookup(sender: number, sequence: number, txnID: Uint8Array): number | undefined {
    const entry = this.#remembered.find(sender, sequence);
    const id = new DataView(txnID.buffer, txnID.byteOffset, txnID.byteLength);
    if (entry === 0 || !this.#remembered.hasId(entry, id, 0)) return undefined;
    return this.#remembered.outcome(entry);
  }

  /** Whether any transaction is remembered there: cheaper than `lookup` where most are new. */
  remembers(sender: number, sequence: number): boolean {
    return this.#remembered.find(sender, sequence) !== 0;
  }

  /** The first of these checked transactions, from `from` on, that `remembers` is true of; or `count`. */
  firstRemembered(bytes: Uint8Array, spans: Uint32Array, from: number, count: number): number {
    const { words, heads } = this.#remembered;
    return kernels.firstRemembered(bytes, spans, from, count, words, heads);
  }

  /** Root of the state. Its cost follows what changed since the last one. */
  root(): Uint8Array {
    return this.#root.compute(this.#effectsDigest);
  }

  /** Parts that, one after the other, hold all that `restore` needs to go on bit for bit. */
  snapshot(): Uint8Array[] {
    return writeSnapshot(
      {
        supply: this.#supply,
        through: this.#remembered.through,
        openRound: this.#openRound,
        effectsDigest: this.#effectsDigest,
        effects: this.#effects.slice(EFFECTS_HEAD_BYTES, this.#effectsEnd),
        counts: this.counts,
      },
      this.#tables(),
    );
  }

  /** Throws BaashError SNAPSHOT_DAMAGED on anything but what `snapshot` answers. */
  static restore(bytes: Uint8Array): State {
    checkSnapshot(bytes);
    const state = new State({ supply: 0 });
    const head = readSnapshot(bytes, state.#tables(), state.#touch);
    state.#supply = head.supply;
    state.#openRound = head.openRound;
    state.#effectsDigest = head.effectsDigest;
    state.#effects.set(head.effects, state.#reserveEffects(head.effects.length));
    state.counts.set(head.counts);
    return state;
  }

  #tables() {
    return {
      records: this.#records,
      balances: this.#balances,
      floors: this.#floors,
      remembered: this.#remembered,
    };
  }

  /** Makes room for so many bytes of effects and answers where they begin. */
  #reserveEffects(bytes: number): number {
    const start = this.#effectsEnd;
    this.#effectsEnd += bytes;
    if (this.#effectsEnd > this.#effects.length) {
      const larger = new Uint8Array(2 * this.#effectsEnd);
      larger.set(this.#effects.subarray(0, start));
      this.#effects = larger;
    }
    return start;
  }

  /** All rounds up to this one. */
  #forget(round: number): void {
    const remembered = this.#remembered;
    const { forgetting } = this;
    // Further ahead nothing is remembered.
    const last = Math.min(round, remembered.through + VALIDITY_ROUNDS_MAX + 1);
    for (let each = remembered.through + 1; each <= last; each++) {
      if (remembered.isEmpty(each)) continue;
      if (forgetting?.expects(each)) this.#tellForgotten(each, forgetting);
      this.#native.forget(each, this.#startFloor);
    }
    remembered.through = round;
  }

  #tellForgotten(round: number, watch: ForgettingWatch): void {
    const remembered = this.#remembered;
    remembered.forEachOf(round, (entry) => {
      remembered.copyId(entry, this.#forgottenId, 0);
      watch.forgotten(this.#forgottenId, remembered.outcome(entry));
    });
  }

  /** No sequence number lies below it. */
  readonly #startFloor = (sender: number, hash: number): void => {
    this.#floors.set(sender, hash, 0);
    this.#root.touch(hash);
  };

  /** Carries out what the transaction at `txn` asks for. */
  readonly #operate = (txn: number, sender: number, hash: number): number => {
    const kind = this.#bytes[txn];
    if (kind === TRANSACTION_KIND.transfer) return this.#transfer(txn, sender);
    const keyBytes = this.#bytes[txn + TXN_OFFSET.keyBytes];
    const keyOffset = txn + TXN_OFFSET.key;
    const fieldCount = this.#view.getUint16(txn + TXN_OFFSET.fieldCount, true);
    const fields = keyOffset + keyBytes;
    const records = this.#records;
    if (kind === TRANSACTION_KIND.update) {
      if (!records.update(hash, keyOffset, keyBytes, fields, fieldCount)) {
        return OUTCOME.NO_SUCH_KEY;
      }
    } else if (kind === TRANSACTION_KIND.insert) {
      const isNew = records.insert(hash, keyOffset, keyBytes, fields, fieldCount);
      if (isNew && this.#order !== undefined) this.#orderKey(this.#order, keyOffset, keyBytes);
    } else {
      assert(kind === TRANSACTION_KIND.delete, "a block holds checked transactions");
      if (!records.delete(hash, keyOffset, keyBytes)) return OUTCOME.NO_SUCH_KEY;
    }
    this.#root.touch(hash);
    return OUTCOME.OK;
  };

  #orderKey(order: KeyOrder, keyOffset: number, keyBytes: number): void {
    if (order.isFull()) order.merge(this.#isLive);
    order.add(this.#bytes, keyOffset, keyBytes);
  }

  #transfer(txn: number, sender: number): number {
    const balances = this.#balances;
    const receiver = readNumber(this.#view, txn + TXN_OFFSET.receiverID);
    const amount = readNumber(this.#view, txn + TXN_OFFSET.txnAmount);
    const from = balances.hash(sender);
    const balance = balances.get(sender, from);
    if (balance < amount) return OUTCOME.OVERDRAFT;
    if (sender === receiver) return OUTCOME.OK;
    const to = balances.hash(receiver);
    balances.set(sender, from, balance - amount);
    balances.set(receiver, to, balances.get(receiver, to) + amount);
    this.#root.touch(from);
    this.#root.touch(to);
    return OUTCOME.OK;
  }
}

/** A u64 below 2^53. */
function readNumber(view: DataView, at: number): number {
  return view.getUint32(at, true) + HIGH * view.getUint32(at + 4, true);
}
