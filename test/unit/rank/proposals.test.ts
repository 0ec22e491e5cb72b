/** Room in the incoming queue: what an earlier round may still need is not given away. */
import { expect, test } from "bun:test";
import { concatBytes } from "../../../src/base/bytes.ts";
import { blockHash, createBlockLocation, locateBlock } from "../../../src/ledger/block.ts";
import { decodeProposal, encodeProposalParts, proposalHash } from "../../../src/ledger/proposal.ts";
import { BlockQueue } from "../../../src/queue/block-queue.ts";
import { ProposalTable } from "../../../src/rank/proposals.ts";
import { makeBlock, proposalHeader, SETTING, transfers } from "../ledger/samples.ts";

const RANKS = 3;
const BLOCKS_MAX = 2;
const ROUND_SLOTS = RANKS * BLOCKS_MAX;
const MAC = new Uint8Array(16);

class Table {
  settled = 0;
  readonly queue = BlockQueue.create({ slots: 2 * ROUND_SLOTS, arenaBytes: 1 << 20 });
  readonly table = new ProposalTable(this.queue, {
    ranks: RANKS,
    blocksMax: BLOCKS_MAX,
    bytesMax: 2048,
    settled: () => this.settled,
  });

  /** A proposal comes; true when it is held. */
  comes(round: number, rank: number, count = BLOCKS_MAX): boolean {
    const blocks = Array.from({ length: count }, (_, index) =>
      makeBlock(transfers(1 + index), { ...SETTING, round, rank, index }),
    );
    const header = proposalHeader(blocks, rank, round);
    const source = concatBytes(encodeProposalParts(header, blocks).parts);
    const read = decodeProposal(source);
    if (!read.ok) throw new Error(read.where);
    const blockHashes = new Uint8Array(32 * count);
    const location = createBlockLocation();
    for (const [i, block] of read.value.blocks.entries()) {
      locateBlock(block, 0, block.length, location);
      blockHash(block, location.headerOffset, blockHashes, 32 * i);
    }
    const from = { mac: MAC, hash: proposalHash(header), blockHashes, source, sender: rank };
    return this.table.hold(read.value, { ...from, signature: undefined }) !== undefined;
  }

  settle(round: number): void {
    this.settled = round;
    this.table.forget(round);
  }
}

test("whatever comes of later rounds, what an earlier one misses still fits", () => {
  const table = new Table();
  expect(table.comes(1, 0)).toBe(true);
  expect(table.comes(1, 1)).toBe(true);
  // One body of round 1 is missing: of later rounds so much comes in that a whole round has room.
  const later = [2, 3, 4].flatMap((round) => [0, 1, 2].map((rank) => table.comes(round, rank)));
  expect(later).toEqual([true, ...new Array(8).fill(false)]);
  // What has no blocks takes none.
  expect(table.comes(3, 2, 0)).toBe(true);
  expect(table.comes(1, 2)).toBe(true);
  // Nothing earlier is missing from round 2, and it may fill the queue.
  expect([1, 2].map((rank) => table.comes(2, rank))).toEqual([true, true]);
  expect(table.queue.fifo.freeSlots()).toBe(0);
  table.settle(1);
  expect(table.comes(3, 0)).toBe(true);
  table.settle(2);
  table.settle(3);
  expect(table.queue.fifo.freeSlots()).toBe(2 * ROUND_SLOTS);
});

test("a copy that was found bad is missing again", () => {
  const table = new Table();
  for (const rank of [0, 1, 2]) expect(table.comes(1, rank)).toBe(true);
  table.table.drop(table.table.ofRank(1, 2)!);
  expect([0, 1, 2].map((rank) => table.comes(2, rank))).toEqual([true, false, false]);
  expect(table.comes(1, 2)).toBe(true);
  expect(table.comes(2, 1)).toBe(true);
});
