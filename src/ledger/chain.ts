/**
 * Where a rank stands in the chain: the head, the epoch, the height, the state. It only moves
 * forward, one final record at a time, and in the order that consensus fixed (protocol.md, steps 7
 * and 8). One thread. A snapshot of it is enough to continue bit for bit.
 */
import { assert } from "../base/assert.ts";
import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { kernels } from "../base/kernels.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { pack, scanMessagePack, unpackScanned } from "./codec.ts";
import type { Genesis } from "./genesis.ts";
import { CompactRange } from "./merkle.ts";
import type { PlacedBlocks } from "./native-execution.ts";
import type { Stamp } from "./receipt.ts";
import type { Member } from "./settlement.ts";
import { State } from "./state.ts";
import { VERDICT } from "./verdict.ts";

export interface Epoch {
  /** Hash of the SEAL that installed it, hex. */
  readonly hash: string;
  readonly members: readonly Member[];
}

export interface AnnouncedIntent {
  readonly slot: number;
  /** Of its author, hex. */
  readonly incarnation: string;
  /** Ranks of the epoch that had answered its author, ascending. */
  readonly answered: readonly number[];
}

/** The next ordered blocks where they lie, ready to be executed. */
export interface BlocksInPlace extends PlacedBlocks {
  /** In all of them. */
  readonly transactions: number;
}

/** Anchors of this many newest records are accepted: more than any open round can name. */
const ANCHORS_KEPT = 4 * UNRECORDED_ROUNDS_MAX;
/** Views into a snapshot would keep all of it in memory. */
const copies = (list: readonly Uint8Array[]) => list.map((bytes) => bytes.slice());
/** Leaves go into the tree in batches: hashing many at once costs a fraction of one by one. */
const TREE_BATCH = 1024;
const BATCH_SPANS = Uint32Array.from({ length: 2 * TREE_BATCH }, (_, i) =>
  i % 2 === 0 ? 16 * i : 32,
);
const NO_HASH = "0".repeat(64);

export class Chain {
  readonly genesis: Genesis;
  readonly chainId: Uint8Array;
  readonly state: State;
  slot = -1;
  hash = NO_HASH;
  /** Blocks so far. */
  height = 0;
  settledRound = 0;
  epoch: Epoch = { hash: NO_HASH, members: [] };
  /** The newest INTENT that counts: while it is the head, its author's SEAL may follow it. */
  private intent: AnnouncedIntent | undefined;
  private readonly tip: Uint8Array;
  private readonly tree: CompactRange;
  /** Chain hashes of the newest blocks, not yet in `tree`. */
  private readonly pending = new Uint8Array(32 * TREE_BATCH);
  private pendingCount = 0;
  /** Chain hashes of blocks whose place is fixed and that wait to be executed. */
  private ordered = new Uint8Array(32 * TREE_BATCH);
  private orderedAt = 0;
  private orderedCount = 0;
  /** Record hash → last settled round there, newest last. */
  private readonly anchors = new Map<string, number>();

  constructor(genesis: Genesis, restored?: { state: State; tree: CompactRange }) {
    this.genesis = genesis;
    this.chainId = genesis.chainId;
    this.state = restored?.state ?? new State({ supply: genesis.supply });
    this.tree = restored?.tree ?? new CompactRange();
    this.tip = genesis.chainHash.slice();
  }

  get ranks(): number {
    return this.epoch.members.length;
  }
  get effectsDigest(): string {
    return toHex(this.state.effectsDigest);
  }

  /** The last settled round at this anchor; undefined when it is not on the chain or too old. */
  anchorRound(hash: string): number | undefined {
    return this.anchors.get(hash);
  }

  /**
   * Fixes height and parent of the next `count` blocks, whose hashes lie one after the other. Each
   * is then executed, in this order.
   */
  orderBlocks(hashes: Uint8Array, count: number): void {
    assert(this.orderedAt === this.orderedCount, "blocks that were ordered are executed first");
    if (this.ordered.length < 32 * count) this.ordered = new Uint8Array(32 * count);
    kernels.hashChain(hashes, count, this.tip, this.height + 1, this.ordered, 0);
    this.orderedAt = 0;
    this.orderedCount = count;
  }

  /** Runs the transactions of the next ordered blocks. `outcomes` gets a byte each. */
  executeBlocks(placed: BlocksInPlace, round: number, outcomes: Uint8Array): void {
    const { count } = placed;
    assert(this.orderedAt + count <= this.orderedCount, "a block is ordered before it is executed");
    if (count === 0) return;
    const chainHashes = this.ordered.subarray(32 * this.orderedAt, 32 * (this.orderedAt + count));
    this.orderedAt += count;
    this.tip.set(chainHashes.subarray(32 * (count - 1)));
    for (let from = 0; from < count; ) {
      const room = TREE_BATCH - (this.height % TREE_BATCH);
      const end = Math.min(count, from + room);
      this.pending.set(chainHashes.subarray(32 * from, 32 * end), 32 * this.pendingCount);
      this.pendingCount += end - from;
      this.height += end - from;
      if (end - from === room) this.growTree();
      from = end;
    }
    this.state.executeBlocks({ ...placed, round, chainHashes, outcomes });
  }

  endRound(round: number): void {
    assert(round === this.settledRound + 1, "rounds are settled one after the other");
    this.state.endRound(round);
    this.settledRound = round;
  }

  /** The record at the next slot is final and all that it includes is executed. */
  advance(slot: number, hash: string): void {
    assert(slot === this.slot + 1, "slots are contiguous");
    this.slot = slot;
    this.hash = hash;
    this.anchors.set(hash, this.settledRound);
    if (this.anchors.size > ANCHORS_KEPT) {
      for (const oldest of this.anchors.keys()) {
        this.anchors.delete(oldest);
        break;
      }
    }
  }

  /** A SEAL took effect: the record just advanced to. Rounds go on where they were. */
  install(members: readonly Member[]): void {
    this.epoch = { hash: this.hash, members };
  }

  /** An INTENT took effect: the record just advanced to. */
  announce(incarnation: Uint8Array, answered: readonly number[]): void {
    const { slot } = this;
    this.intent = { slot, incarnation: toHex(incarnation), answered: [...answered] };
  }

  /** The INTENT that is the head, if this incarnation wrote it. */
  intentOf(incarnation: Uint8Array): AnnouncedIntent | undefined {
    const { intent, slot } = this;
    return intent?.slot === slot && intent.incarnation === toHex(incarnation) ? intent : undefined;
  }

  stamp(): Stamp {
    return { epoch: this.epoch.hash, slot: this.slot, round: this.settledRound };
  }

  /** RFC 9162 head over the chain hashes of all final blocks. */
  treeRoot(): Uint8Array {
    this.growTree();
    return this.tree.root();
  }

  private growTree(): void {
    const count = this.pendingCount;
    if (count === 0) return;
    this.pendingCount = 0;
    const leaves = new Uint8Array(32 * count);
    kernels.leafHashes(this.pending, BATCH_SPANS, count, leaves, 0);
    this.tree.appendMany(leaves, count);
  }

  snapshot(): Uint8Array[] {
    this.growTree();
    const members = this.epoch.members.map((member) => [
      member.rank,
      member.incarnation,
      member.publicKey,
      member.host,
      member.certificate,
    ]);
    const place = pack([
      this.slot,
      fromHex(this.hash),
      this.height,
      this.settledRound,
      this.tip,
      fromHex(this.epoch.hash),
      members,
      [...this.tree.hashes],
      [...this.anchors].map(([hash, round]) => [fromHex(hash), round]),
      // Who starts from a checkpoint whose head is an INTENT must judge its child as everybody does.
      this.intent?.slot === this.slot
        ? [fromHex(this.intent.incarnation), this.intent.answered]
        : [],
    ]);
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, place.length, true);
    return [length, place, ...this.state.snapshot()];
  }

  static restore(genesis: Genesis, bytes: Uint8Array): Chain {
    const length =
      bytes.length < 4 ? -1 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const limits = { depthMax: 4, itemsMax: 100_000, bytesMax: 16 << 20 };
    if (length < 0 || scanMessagePack(bytes, 4, length, limits) !== VERDICT.OK) {
      throw new BaashError(
        "SNAPSHOT_DAMAGED",
        "the state snapshot has no readable place in the chain",
        {
          exitCode: EXIT.failed,
        },
      );
    }
    const place = unpackScanned(bytes.subarray(4, 4 + length)) as [
      number,
      Uint8Array,
      number,
      number,
      Uint8Array,
      Uint8Array,
      [number, Uint8Array, Uint8Array, string, Uint8Array][],
      Uint8Array[],
      [Uint8Array, number][],
      ([Uint8Array, number[]] | [])?,
    ];
    const [slot, hash, height, settledRound, tip, epochHash, members, tree, anchors] = place;
    // Absent in snapshots of the first version, which knew no INTENT of a member.
    const [intentBy, answered] = place[9] ?? [];
    const state = State.restore(bytes.subarray(4 + length));
    const chain = new Chain(genesis, { state, tree: new CompactRange(height, copies(tree)) });
    chain.slot = slot;
    chain.hash = toHex(hash);
    chain.height = height;
    chain.settledRound = settledRound;
    chain.tip.set(tip);
    chain.epoch = {
      hash: toHex(epochHash),
      members: members.map(([rank, incarnation, publicKey, host, certificate]) => ({
        rank,
        incarnation: incarnation.slice(),
        publicKey: publicKey.slice(),
        host,
        certificate: certificate.slice(),
      })),
    };
    for (const [anchor, round] of anchors) chain.anchors.set(toHex(anchor), round);
    if (intentBy !== undefined) chain.announce(intentBy, answered ?? []);
    return chain;
  }
}
