import { describe, expect, test } from "bun:test";
import { Packr } from "msgpackr";
import { concatBytes, writeU32 } from "../../../src/base/bytes.ts";
import { sha256 } from "../../../src/base/sha256.ts";
import { leafHashOf, nodeHash } from "../../../src/ledger/merkle.ts";
import {
  blocksRoot,
  checkProposal,
  decodeProposal,
  encodeProposalHeader,
  encodeProposalParts,
  type Proposal,
  proposalHash,
  rankAtPlace,
  readProposalHeader,
} from "../../../src/ledger/proposal.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";
import { damages, filled, makeBlock, proposalHeader, SETTING, transfers } from "./samples.ts";

const BLOCKS = [
  makeBlock(transfers(4)),
  makeBlock(transfers(20), { ...SETTING, index: 1 }),
  makeBlock(transfers(1), { ...SETTING, index: 2 }),
];
const HEADER = proposalHeader(BLOCKS);
const EXPECTED = {
  chainId: SETTING.chainId,
  epoch: SETTING.epoch,
  round: SETTING.round,
  rank: SETTING.rank,
  incarnation: SETTING.incarnation,
};

function encode(blocks = BLOCKS, header = HEADER): Uint8Array {
  const { parts, length } = encodeProposalParts(header, blocks);
  const bytes = concatBytes(parts);
  expect(bytes.length).toBe(length);
  return bytes;
}

function decode(bytes: Uint8Array): Proposal {
  const read = decodeProposal(bytes);
  if (!read.ok) throw new Error(read.where);
  return read.value;
}

function judge(proposal: Proposal, expected = EXPECTED, room = 32 * proposal.blocks.length) {
  return checkProposal(proposal, expected, new Uint8Array(room));
}

describe("proposal", () => {
  test("the message is msgpackr's own and comes back as it went", () => {
    const bytes = encode();
    expect(bytes).toEqual(new Uint8Array(new Packr({ useRecords: false }).pack([HEADER, BLOCKS])));
    const proposal = decode(bytes);
    expect<Uint8Array>(new Uint8Array(proposal.headerBytes)).toEqual(HEADER);
    expect<Uint8Array[]>(proposal.blocks.map((block) => new Uint8Array(block))).toEqual(BLOCKS);
    expect(encodeProposalHeader(proposal.header)).toEqual(HEADER);
    expect(judge(proposal)).toBe(VERDICT.OK);
  });

  test("a proposal of nothing is EMPTY and good", () => {
    const header = proposalHeader([]);
    expect(readProposalHeader(header).blocksRoot).toEqual(sha256(new Uint8Array(0)));
    expect(judge(decode(encode([], header)))).toBe(VERDICT.OK);
  });

  test("hash and root are those of the format", () => {
    expect(proposalHash(HEADER)).toEqual(sha256(HEADER));
    const [a, b, c] = BLOCKS.map((block) => leafHashOf(sha256(block.subarray(3, 163))));
    const hashes = concatBytes(BLOCKS.map((block) => sha256(block.subarray(3, 163))));
    expect(blocksRoot(hashes, 3)).toEqual(nodeHash(nodeHash(a, b), c));
  });

  test("each rule has its verdict", () => {
    const proposal = decode(encode());
    expect(judge(proposal, { ...EXPECTED, chainId: filled(16, 1) })).toBe(VERDICT.WRONG_CHAIN);
    expect(judge(proposal, { ...EXPECTED, epoch: filled(32, 1) })).toBe(VERDICT.WRONG_EPOCH);
    expect(judge(proposal, { ...EXPECTED, round: 1 })).toBe(VERDICT.WRONG_ROUND);
    expect(judge(proposal, { ...EXPECTED, rank: 1 })).toBe(VERDICT.WRONG_RANK);
    const stranger = { ...EXPECTED, incarnation: filled(8, 1) };
    expect(judge(proposal, stranger)).toBe(VERDICT.WRONG_INCARNATION);
    expect(judge(proposal, EXPECTED, 95)).toBe(VERDICT.TOO_LARGE);
    const [first, second, third] = BLOCKS;
    expect(judge(decode(encode([first, second])))).toBe(VERDICT.WRONG_COUNT);
    expect(judge(decode(encode([second, first, third])))).toBe(VERDICT.WRONG_ROOT);
    expect(judge(decode(encode([first, second, filled(400, 0)])))).toBe(VERDICT.BAD_SHAPE);
    const padded = HEADER.slice();
    writeU32(padded, 116, 1);
    expect(judge(decode(encode(BLOCKS, padded)))).toBe(VERDICT.BAD_SHAPE);
    const counter = HEADER.slice();
    writeU32(counter, 112, 26);
    expect(judge(decode(encode(BLOCKS, counter)))).toBe(VERDICT.WRONG_COUNT);
  });

  test("every cut and every changed byte of the header or the frame gets a verdict", () => {
    const bytes = encode();
    for (const { what, damaged } of damages(bytes)) {
      const read = decodeProposal(damaged);
      if (what.startsWith("byte")) {
        if (read.ok) expect(typeof judge(read.value, EXPECTED, 4096)).toBe("number");
      } else expect(read.ok).toBe(false);
    }
  });

  test("who goes first rotates with the round", () => {
    expect([0, 1, 2, 3].map((place) => rankAtPlace(6, place, 4))).toEqual([2, 3, 0, 1]);
  });
});
