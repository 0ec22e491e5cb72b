/** Proposals as a rank would build them, every block mined. */
import { kernels } from "../../src/base/kernels.ts";
import { sha256 } from "../../src/base/sha256.ts";
import { assembleBlock, blockMessageBytes, bodyBytes, mineBlock } from "../../src/ledger/block.ts";
import { blocksRoot, encodeProposalHeader, proposalHash } from "../../src/ledger/proposal.ts";

/** Blocks of one rank in one round, each a list of encoded transactions. */
export type Blocks = readonly (readonly Uint8Array[])[];

/** One rank's proposal as it goes into a record: its header and its block messages. */
export interface MadeProposal {
  header: Uint8Array;
  blocks: Uint8Array[];
  ids: Uint8Array[];
}

type BlockPlace = Omit<Parameters<typeof assembleBlock>[2], "puzzleDifficulty">;

export function makeProposal(
  blocks: Blocks,
  place: Omit<BlockPlace, "index">,
  puzzleDifficulty: number,
): MadeProposal {
  const made = blocks.map((txns, index) => makeBlock(txns, { ...place, index }, puzzleDifficulty));
  const hashes = new Uint8Array(32 * made.length);
  for (const [i, { hash }] of made.entries()) hashes.set(hash, 32 * i);
  const header = encodeProposalHeader({
    ...place,
    blockCount: blocks.length,
    txnCount: blocks.reduce((sum, txns) => sum + txns.length, 0),
    blocksRoot: blocksRoot(hashes, blocks.length),
  });
  return { header, blocks: made.map(({ bytes }) => bytes), ids: made.map(({ ids }) => ids) };
}

function makeBlock(txns: readonly Uint8Array[], place: BlockPlace, puzzleDifficulty: number) {
  const count = txns.length;
  const bytes = new Uint8Array(Buffer.concat(txns));
  const spans = new Uint32Array(2 * count);
  for (let i = 0, at = 0; i < count; at += txns[i++].length) {
    spans.set([at, txns[i].length], 2 * i);
  }
  const ids = new Uint8Array(32 * count);
  kernels.leafHashes(bytes, spans, count, ids, 0);
  const out = new Uint8Array(blockMessageBytes(bodyBytes(spans, count)));
  const source = { bytes, spans, count, ids, idsOffset: 0 };
  assembleBlock(out, 0, { ...place, puzzleDifficulty }, source);
  return { bytes: out, ids, hash: mine(out, puzzleDifficulty) };
}

/** Solves a block's puzzle in place; answers its hash. */
export function mine(block: Uint8Array, bits: number): Uint8Array {
  for (let first = 0, tries = 1 << 20; mineBlock(block, 3, bits, first, tries) < 0; first += tries);
  return sha256(block.subarray(3, 163));
}

export function hashOf(proposal: { header: Uint8Array }): Uint8Array {
  return proposalHash(proposal.header);
}
