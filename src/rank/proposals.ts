/**
 * The proposals of the open rounds: headers and where their blocks lie in the incoming queue. The
 * blocks themselves stay in shared memory; nothing here is a copy of them. Main thread.
 *
 * Each rank proposes so much only that what all have under way fits everybody's queue. And while a body
 * of an earlier round is missing, the room of a whole round is left for it: else ranks whose queues were
 * full of later rounds, each with another body missing, would wait for ever.
 */
import { assert } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { createBlockLocation, idsOffsetOf, locateBlock } from "../ledger/block.ts";
import { encodeProposalParts, type Proposal } from "../ledger/proposal.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import { ENVELOPE_BYTES, MESSAGE } from "./envelope.ts";

export interface HeldProposal {
  readonly round: number;
  readonly rank: number;
  readonly hash: string;
  /** The 152 bytes that travelled, and their MAC: enough to hand the proposal on. */
  readonly header: Uint8Array;
  readonly mac: Uint8Array;
  /** Its author's, in a byzantine epoch. */
  signature: Uint8Array | undefined;
  /** The member that sent this copy; this rank itself for its own. */
  readonly sender: number;
  readonly anchor: string;
  readonly slots: readonly number[];
  readonly txnCount: number;
  /** Every block was judged good (or built here): it may be executed. */
  checked: boolean;
  /** A worker is reading and writing its slots: they may not be given back yet. */
  checking: boolean;
  /** Given up while it was being checked. */
  dropped: boolean;
}

export interface TableOptions {
  readonly ranks: number;
  /** Of one proposal at most; the incoming queue has room for all ranks' of a round. */
  readonly blocksMax: number;
  readonly bytesMax: number;
  /** The last settled round. */
  settled(): number;
  /** Bytes of one member's proposals at most; the queue alone is the bound without it. */
  readonly shareBytesMax?: number | undefined;
}

const location = createBlockLocation();
const NO_SIGNATURE = new Uint8Array(0);
const NOTHING = { blocks: 0, bytes: 0 };
/** Of the arena: payloads of many sizes leave gaps. */
const ARENA_USED = 0.75;

interface Named {
  readonly round: number;
  readonly rank: number;
  readonly hash: string;
}

export class ProposalTable {
  private readonly incoming: BlockQueue;
  private readonly rounds = new Map<number, HeldProposal[]>();
  /** Round → names whose bodies this rank has asked for. */
  private readonly asked = new Map<number, Set<string>>();
  /** Round → how many ranks' proposals are held of it. */
  private readonly authors = new Map<number, number>();
  private readonly options: TableOptions;
  private readonly shareBytesMax: number;
  /** Of each member's proposals. */
  private readonly held = new Map<number, { readonly blocks: number; readonly bytes: number }>();

  constructor(incoming: BlockQueue, options: TableOptions) {
    this.incoming = incoming;
    this.options = options;
    this.shareBytesMax = options.shareBytesMax ?? Number.POSITIVE_INFINITY;
  }

  /** So much of this round may come in, and what earlier rounds may still need fits beside it. */
  private leavesRoom(round: number, blocks: number, bytes: number): boolean {
    const { ranks, blocksMax, bytesMax, settled } = this.options;
    if (blocks === 0) return true;
    for (let earlier = settled() + 1; earlier < round; earlier++) {
      if (this.authors.get(earlier) === ranks) continue;
      const { fifo } = this.incoming;
      return (
        fifo.freeSlots() >= blocks + ranks * blocksMax &&
        fifo.freeBytes() >= bytes + ranks * bytesMax
      );
    }
    return true;
  }

  /** This body may come from whomever, and beside another one of the same rank. */
  ask({ round, rank, hash }: Named): void {
    let names = this.asked.get(round);
    if (names === undefined) this.asked.set(round, (names = new Set()));
    names.add(`${rank} ${hash}`);
  }

  wasAsked({ round, rank, hash }: Named): boolean {
    return this.asked.get(round)?.has(`${rank} ${hash}`) === true;
  }

  /** One more of so many bytes is more than this member's share. */
  exceedsShare(rank: number, bytes: number): boolean {
    return (this.held.get(rank)?.bytes ?? 0) + bytes > this.shareBytesMax;
  }

  /**
   * How many blocks of its own `rank` may still have under way: so many that everybody else's find as much
   * room in every queue, beside that of a round that may have to be left. Who has none may propose.
   */
  ownRoom(rank: number): number {
    const { ranks, blocksMax } = this.options;
    const under = this.held.get(rank)?.blocks ?? 0;
    if (under === 0) return blocksMax;
    return Math.max(0, Math.floor(this.incoming.fifo.slotCount / ranks - blocksMax - under));
  }

  private isOwnShare(rank: number, blocks: number, bytes: number): boolean {
    const { ranks, bytesMax } = this.options;
    const under = this.held.get(rank)?.bytes ?? 0;
    const share = (ARENA_USED * this.incoming.fifo.bytes.length) / ranks - bytesMax;
    return blocks <= this.ownRoom(rank) && (under === 0 || under + bytes <= share);
  }

  private count({ rank, slots }: HeldProposal, sign: 1 | -1): void {
    let { blocks, bytes } = this.held.get(rank) ?? NOTHING;
    blocks += sign * slots.length;
    for (const slot of slots) bytes += sign * this.incoming.messageLength(slot);
    this.held.set(rank, { blocks, bytes });
  }

  get(round: number, rank: number, hash: string): HeldProposal | undefined {
    return this.rounds.get(round)?.find((held) => held.rank === rank && held.hash === hash);
  }

  /** The first proposal of a rank in a round. */
  ofRank(round: number, rank: number): HeldProposal | undefined {
    return this.rounds.get(round)?.find((held) => held.rank === rank);
  }

  /** Copies the blocks into the incoming queue. Undefined when it has no room: try again later. */
  hold(
    proposal: Proposal,
    options: {
      mac: Uint8Array;
      hash: Uint8Array;
      blockHashes: Uint8Array;
      source: Uint8Array;
      sender: number;
      signature: Uint8Array | undefined;
    },
  ): HeldProposal | undefined {
    const { header, blocks } = proposal;
    const { source } = options;
    if (!this.leavesRoom(header.round, blocks.length, source.length)) return undefined;
    const slots: number[] = [];
    const triples = new Uint32Array(3 * blocks.length);
    for (const [index, block] of blocks.entries()) {
      locateBlock(block, 0, block.length, location);
      const slot = this.reserve(block.length, location.txnCounter, slots);
      if (slot < 0) return undefined;
      // Blocks are views into the message that came: one call copies them all.
      triples[3 * index] = block.byteOffset - source.byteOffset;
      triples[3 * index + 1] = this.incoming.messageOffset(slot);
      triples[3 * index + 2] = block.length;
    }
    kernels.scatter(source, this.incoming.fifo.bytes, triples, blocks.length);
    if (!this.commit(slots, options.blockHashes, header)) return undefined;
    return this.keep({
      round: header.round,
      rank: header.rank,
      hash: toHex(options.hash),
      header: proposal.headerBytes.slice(),
      mac: options.mac.slice(),
      signature: options.signature?.slice(),
      sender: options.sender,
      anchor: toHex(header.anchor),
      slots,
      txnCount: header.txnCount,
      checked: false,
      checking: false,
      dropped: false,
    });
  }

  /** Own blocks: from the outgoing queue, with the txnIDs that lie behind each. */
  holdOwn(
    held: Omit<HeldProposal, "slots" | "checked" | "checking" | "dropped" | "sender" | "signature">,
    outgoing: BlockQueue,
    sources: readonly number[],
    blockHashes: Uint8Array,
  ): HeldProposal | undefined {
    let bytes = 0;
    for (const source of sources) bytes += outgoing.messageLength(source);
    const fits = this.leavesRoom(held.round, sources.length, bytes);
    if (!fits || !this.isOwnShare(held.rank, sources.length, bytes)) return undefined;
    const slots: number[] = [];
    const triples = new Uint32Array(3 * sources.length);
    for (const [index, source] of sources.entries()) {
      const length = outgoing.messageLength(source);
      const count = outgoing.fifo.words[4 * source + 1];
      const slot = this.reserve(length, count, slots);
      if (slot < 0) return undefined;
      // Message and txnIDs lie one behind the other in both queues.
      triples[3 * index] = outgoing.messageOffset(source);
      triples[3 * index + 1] = this.incoming.messageOffset(slot);
      triples[3 * index + 2] = idsOffsetOf(length) + 32 * count;
    }
    kernels.scatter(outgoing.fifo.bytes, this.incoming.fifo.bytes, triples, sources.length);
    if (!this.commit(slots, blockHashes, held)) return undefined;
    const own = { sender: held.rank, signature: undefined };
    return this.keep({ ...held, ...own, slots, checked: true, checking: false, dropped: false });
  }

  /** Answers a negative number, with nothing reserved any more, when the queue is full. */
  private reserve(bytes: number, txnCount: number, slots: number[]): number {
    const slot = this.incoming.reserve(bytes, txnCount);
    if (slot >= 0) slots.push(slot);
    else for (const reserved of slots) this.incoming.fifo.discard(reserved);
    return slot;
  }

  /** All or nothing: a block that is there already is a replay, and so is its proposal. */
  private commit(
    slots: readonly number[],
    hashes: Uint8Array,
    origin: { rank: number; round: number },
  ): boolean {
    const { fifo } = this.incoming;
    for (const [index, slot] of slots.entries()) {
      this.incoming.setOrigin(slot, origin);
      if (this.incoming.commit(slot, hashes, 32 * index) >= 0) continue;
      this.release(slots.slice(0, index));
      for (const rest of slots.slice(index)) fifo.discard(rest);
      return false;
    }
    return true;
  }

  private keep(held: HeldProposal): HeldProposal {
    const others = this.rounds.get(held.round) ?? [];
    if (others.length === 0) this.rounds.set(held.round, others);
    this.countAuthor(held, others, 1);
    others.push(held);
    this.count(held, 1);
    return held;
  }

  /** It comes or goes; `others` are held of its round beside it. */
  private countAuthor(
    { round, rank }: HeldProposal,
    others: readonly HeldProposal[],
    sign: 1 | -1,
  ): void {
    if (others.some((other) => other.rank === rank)) return;
    this.authors.set(round, (this.authors.get(round) ?? 0) + sign);
  }

  /** Proposals that wait for their anchor to become known. */
  *unchecked(): Iterable<HeldProposal> {
    for (const round of this.rounds.values())
      for (const held of round) if (!held.checked) yield held;
  }

  /** A proposal that was found bad: its blocks are of no further use. */
  drop(held: HeldProposal): void {
    const others = this.rounds.get(held.round);
    assert(others !== undefined, "a held proposal is in the table");
    const rest = others.filter((other) => other !== held);
    this.rounds.set(held.round, rest);
    this.countAuthor(held, rest, -1);
    this.giveUp(held);
  }

  private giveUp(held: HeldProposal): void {
    held.dropped = true;
    this.count(held, -1);
    if (!held.checking) this.release(held.slots);
  }

  /** The worker has let go of the slots. True when the proposal still matters. */
  checkEnded(held: HeldProposal): boolean {
    held.checking = false;
    if (held.dropped) this.release(held.slots);
    return !held.dropped;
  }

  /** The round is settled: its blocks are executed or lost. */
  forget(round: number): void {
    for (const held of this.rounds.get(round) ?? []) this.giveUp(held);
    this.rounds.delete(round);
    this.authors.delete(round);
    this.asked.delete(round);
  }

  /** The epoch is over: nothing of it is needed any more. */
  forgetAll(): void {
    for (const round of [...this.rounds.keys()]) this.forget(round);
  }

  private release(slots: readonly number[]): void {
    for (const slot of slots) this.incoming.fifo.remove(slot);
  }

  /** The envelope of a proposal, ready to send: the bytes that travelled. */
  envelope(held: HeldProposal): Uint8Array {
    const { fifo } = this.incoming;
    const blocks = held.slots.map((slot) => {
      const at = this.incoming.messageOffset(slot);
      return fifo.bytes.subarray(at, at + this.incoming.messageLength(slot));
    });
    const { parts, length } = encodeProposalParts(held.header, blocks);
    const signature = held.signature ?? NO_SIGNATURE;
    const envelope = new Uint8Array(ENVELOPE_BYTES + length + signature.length);
    envelope.set(signature, ENVELOPE_BYTES + length);
    envelope[0] = MESSAGE.proposal;
    envelope.set(held.mac, 1);
    let offset = ENVELOPE_BYTES;
    for (const part of parts) {
      envelope.set(part, offset);
      offset += part.length;
    }
    return envelope;
  }
}
