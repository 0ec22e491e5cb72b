/** Fixed and random ledger things for the codec tests: the same bytes on every run. */
import fc from "fast-check";
import { kernels } from "../../../src/base/kernels.ts";
import {
  assembleBlock,
  type BlockExpectations,
  type BlockSetting,
  blockHash,
  blockMessageBytes,
  bodyBytes,
  createBlockLocation,
  locateBlock,
  mineBlock,
} from "../../../src/ledger/block.ts";
import { blocksRoot, encodeProposalHeader } from "../../../src/ledger/proposal.ts";
import type { Member, SettledRound } from "../../../src/ledger/settlement.ts";
import {
  encodeTransaction,
  type TransactionInput,
} from "../../../src/ledger/transaction-object.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";

export function filled(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

export const CHAIN_ID = filled(16, 0xc1);
export const TIME = 1_750_000_000_000;
export const DIFFICULTY = 8;

export const TRANSFER: TransactionInput = {
  kind: "transfer",
  chainId: CHAIN_ID,
  senderID: 7,
  sequence: 2 ** 40 + 1,
  lastValidRound: 1000,
  creationTime: TIME,
  receiverID: 9,
  txnAmount: 250,
};

export const SETTING: BlockSetting = {
  chainId: CHAIN_ID,
  epoch: filled(32, 0xe0),
  anchor: filled(32, 0xa0),
  round: 42,
  rank: 3,
  index: 0,
  incarnation: filled(8, 0x1c),
  creationTime: TIME,
  puzzleDifficulty: DIFFICULTY,
};

export function expectations(): BlockExpectations {
  return {
    chainId: SETTING.chainId,
    epoch: SETTING.epoch,
    round: SETTING.round,
    rank: SETTING.rank,
    incarnation: SETTING.incarnation,
    index: SETTING.index,
    difficulty: DIFFICULTY,
    transactionsMax: 16_384,
    checkAnchor: () => VERDICT.OK,
  };
}

/** A mined block message of these transactions. */
export function makeBlock(
  transactions: readonly Uint8Array[],
  setting: BlockSetting = SETTING,
): Uint8Array {
  const count = transactions.length;
  const spans = new Uint32Array(2 * count);
  const bytes = new Uint8Array(transactions.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  transactions.forEach((one, i) => {
    bytes.set(one, at);
    spans[2 * i] = at;
    spans[2 * i + 1] = one.length;
    at += one.length;
  });
  const ids = new Uint8Array(32 * count);
  kernels.leafHashes(bytes, spans, count, ids, 0);
  const out = new Uint8Array(blockMessageBytes(bodyBytes(spans, count)));
  assembleBlock(out, 0, setting, { bytes, spans, count, ids, idsOffset: 0 });
  const found = mineBlock(out, 3, setting.puzzleDifficulty, 0, 2 ** 30);
  if (found < 0) throw new Error("an easy puzzle has a solution");
  return out;
}

export function transfers(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => encodeTransaction({ ...TRANSFER, sequence: i }));
}

/** Header bytes of a proposal of these blocks by rank 3 (or another) in round 42 (or another). */
export function proposalHeader(blocks: readonly Uint8Array[], rank = 3, round = 42): Uint8Array {
  const hashes = new Uint8Array(32 * blocks.length);
  const location = createBlockLocation();
  let txnCount = 0;
  blocks.forEach((block, i) => {
    locateBlock(block, 0, block.length, location);
    blockHash(block, location.headerOffset, hashes, 32 * i);
    txnCount += location.txnCounter;
  });
  return encodeProposalHeader({
    chainId: SETTING.chainId,
    epoch: SETTING.epoch,
    anchor: SETTING.anchor,
    round,
    rank,
    blockCount: blocks.length,
    incarnation: SETTING.incarnation,
    creationTime: TIME,
    txnCount,
    blocksRoot: blocksRoot(hashes, blocks.length),
  });
}

/** Four members; rank 3 wins with one block, rank 1 is lost, ranks 0 and 2 win empty. */
export function settledRound(round: number): SettledRound {
  const block = makeBlock(transfers(4), { ...SETTING, round });
  const won = (rank: number, blocks: Uint8Array[]) => ({
    rank,
    header: proposalHeader(blocks, rank, round),
    blocks,
  });
  return {
    round,
    proposals: [won(0, []), won(2, []), won(3, [block])],
    lost: [{ rank: 1, proposalHash: filled(32, 0x11) }],
    votes: [
      {
        answers: Uint8Array.of(2, 1, 2, 2),
        effectsSlot: 5,
        effectsDigest: filled(32, 0xef),
        voters: Uint8Array.of(0b0101),
      },
      {
        answers: Uint8Array.of(2, 0, 2, 2),
        effectsSlot: 5,
        effectsDigest: filled(32, 0xef),
        voters: Uint8Array.of(0b1000),
      },
    ],
  };
}

export function member(rank: number): Member {
  return {
    rank,
    incarnation: filled(8, rank + 1),
    publicKey: filled(32, rank + 2),
    host: `n${rank}`,
    certificate: filled(64, rank + 3),
  };
}

const u53 = fc.maxSafeNat();
const u48 = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const key = fc.uint8Array({ minLength: 1, maxLength: 255 });
const fields = fc.array(
  fc.record({
    name: fc.uint8Array({ minLength: 1, maxLength: 255 }),
    value: fc.uint8Array({ maxLength: 300 }),
  }),
  { minLength: 1, maxLength: 12 },
);
const head = {
  chainId: fc.constant(CHAIN_ID),
  senderID: u53,
  sequence: u53,
  lastValidRound: u48,
  creationTime: u48,
};

export const anyTransaction: fc.Arbitrary<TransactionInput> = fc.oneof(
  fc.record({
    ...head,
    kind: fc.constant("transfer" as const),
    receiverID: u53,
    txnAmount: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  }),
  fc.record({ ...head, kind: fc.constantFrom("insert" as const, "update" as const), key, fields }),
  fc.record({ ...head, kind: fc.constant("delete" as const), key }),
  fc.record({
    ...head,
    kind: fc.constant("record" as const),
    key,
    payload: fc.uint8Array({ maxLength: 1000 }),
  }),
);

/** Every truncation, and `flips` single byte changes spread over the bytes. */
export function* damages(
  bytes: Uint8Array,
  flips = 600,
): Generator<{ what: string; damaged: Uint8Array }> {
  const cut = Math.max(1, Math.floor(bytes.length / 600));
  for (let length = 0; length < bytes.length; length += cut) {
    yield { what: `cut to ${length}`, damaged: bytes.slice(0, length) };
  }
  yield { what: "one byte more", damaged: Uint8Array.of(...bytes, 0) };
  const step = Math.max(1, Math.floor(bytes.length / flips));
  for (let at = 0; at < bytes.length; at += step) {
    for (const change of [0x01, 0x80, 0xff]) {
      const damaged = bytes.slice();
      damaged[at] ^= change;
      yield { what: `byte ${at} ^ ${change}`, damaged };
    }
  }
}
