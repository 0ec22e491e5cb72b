/** One block at a time, for whoever does not execute whole rounds. */
import type { State } from "../../src/ledger/state.ts";

export interface OneBlock {
  bytes: Uint8Array;
  bodyOffset: number;
  bodyLength: number;
  count: number;
  ids: Uint8Array;
  idsOffset: number;
  round: number;
  chainHash: Uint8Array;
  outcomes: Uint8Array;
}

export function executeBlock(state: State, block: OneBlock): void {
  const { bytes, bodyOffset, bodyLength, count, ids, idsOffset, round, outcomes } = block;
  const blocks = Uint32Array.of(bodyOffset, bodyLength, count, idsOffset);
  const placed = { bytes, blocks, count: 1, transactions: count, ids };
  state.executeBlocks({ ...placed, round, chainHashes: block.chainHash, outcomes });
}
