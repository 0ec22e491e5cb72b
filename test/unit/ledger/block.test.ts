import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { toHex, writeU32 } from "../../../src/base/bytes.ts";
import { kernels } from "../../../src/base/kernels.ts";
import { sha256 } from "../../../src/base/sha256.ts";
import {
  assembleBlock,
  BLOCK_HEADER_BYTES,
  BLOCK_OFFSET,
  type BlockExpectations,
  blockMessageBytes,
  bodyBytes,
  chainHash,
  checkBlock,
  createBlockCheck,
  createBlockLocation,
  hasLeadingZeros,
  idsOffsetOf,
  locateBlock,
  mineBlock,
  readBlockHeader,
  scanBody,
  writeBlockHeader,
} from "../../../src/ledger/block.ts";
import { decodeBlock } from "../../../src/ledger/block-object.ts";
import { encodeTransaction, txnIDOf } from "../../../src/ledger/transaction-object.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";
import {
  anyTransaction,
  damages,
  expectations,
  filled,
  makeBlock,
  SETTING,
  TRANSFER,
  transfers,
} from "./samples.ts";

const msgpack = new Packr({ useRecords: false });
const check = createBlockCheck();

function judge(block: Uint8Array, expected: BlockExpectations = expectations()) {
  return checkBlock(block, 0, block.length, expected, new Uint8Array(32 * 16_384), 0, check);
}

/** A block that is honest but for `change`: mined again, so that only one thing is wrong. */
function altered(block: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  const bytes = block.slice();
  change(bytes);
  mineBlock(bytes, 3, SETTING.puzzleDifficulty, 0, 2 ** 30);
  return bytes;
}

describe("block", () => {
  test("a block of one transfer has the bytes of the format", () => {
    const block = makeBlock([encodeTransaction(TRANSFER)]);
    expect(toHex(block)).toBe(
      "92c4a0" +
        "c1".repeat(16) +
        "e0".repeat(32) +
        "a0".repeat(32) +
        "2a00000000000000" +
        "03000000" +
        "00000000" +
        "1c".repeat(8) +
        "00dc207497010000" +
        "01000000" +
        "08000000" +
        "e236ca61071c3b6ae79b188d0f24a77e8770568f5baacee5d6420f65155dd8bf" +
        "da00000000000000" +
        "c444" +
        "40000000" +
        "01000000c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c107000000000000000100000000010000e8030000000000dc207497010900000000000000fa00000000000000",
    );
  });

  test("the message is msgpackr's own, for every width of the body", () => {
    for (const count of [1, 4, 100, 1000]) {
      const block = makeBlock(transfers(count));
      const [header, body] = msgpack.unpack(block) as [Uint8Array, Uint8Array];
      expect(header.length).toBe(160);
      expect(body.length).toBe(68 * count);
      expect<Uint8Array>(new Uint8Array(msgpack.pack([header, body]))).toEqual(block);
    }
  });

  test("what is assembled is good, wherever it lies, and its txnIDs come out", () => {
    fc.assert(
      fc.property(
        fc.array(anyTransaction, { minLength: 1, maxLength: 8 }),
        fc.nat(20),
        (inputs, before) => {
          const transactions = inputs.map(encodeTransaction);
          const block = makeBlock(transactions);
          // As in a queue slot: shared memory, txnIDs behind the message.
          const idsAt = before + idsOffsetOf(block.length);
          const shared = new Uint8Array(
            new SharedArrayBuffer(idsAt + 32 * transactions.length),
          ).fill(0xff);
          shared.set(block, before);
          const length = block.length;
          expect(checkBlock(shared, before, length, expectations(), shared, idsAt, check)).toBe(0);
          transactions.forEach((one, i) => {
            expect<Uint8Array>(shared.slice(idsAt + 32 * i, idsAt + 32 * i + 32)).toEqual(
              txnIDOf(one),
            );
          });
          expect(check.blockHash).toEqual(sha256(block.subarray(3, 163)));
          const read = decodeBlock(shared, before, length);
          if (!read.ok) throw new Error(read.where);
          expect(read.value.txnList.map(encodeTransaction)).toEqual(transactions);
          expect(read.value).toMatchObject({ ...SETTING, txnCounter: transactions.length });
        },
      ),
      { numRuns: 60 },
    );
  });

  test("headers read back as they were written", () => {
    const header = {
      ...SETTING,
      txnCounter: 3,
      merkleRoot: filled(32, 5),
      nonce: Number.MAX_SAFE_INTEGER,
    };
    const bytes = new Uint8Array(170);
    writeBlockHeader(bytes, 7, header);
    expect(readBlockHeader(bytes, 7)).toEqual(header);
  });

  test("every cut and every changed byte gets a verdict that is not OK", () => {
    const block = makeBlock(transfers(4));
    for (const { what, damaged } of damages(block)) {
      const verdict = judge(damaged);
      // Another nonce may solve the puzzle too: then the block is good.
      const at = what.startsWith("byte") ? Number(what.split(" ")[1]) - 3 : 0;
      if (at < BLOCK_OFFSET.nonce || at >= BLOCK_HEADER_BYTES) {
        expect({ what, verdict }).not.toEqual({ what, verdict: VERDICT.OK });
      }
      expect(typeof decodeBlock(damaged).ok).toBe("boolean");
    }
  });

  test("each rule has its verdict", () => {
    const block = makeBlock(transfers(4));
    const expected = expectations();
    expect(judge(block)).toBe(VERDICT.OK);
    expect(judge(block, { ...expected, chainId: filled(16, 1) })).toBe(VERDICT.WRONG_CHAIN);
    expect(judge(block, { ...expected, epoch: filled(32, 1) })).toBe(VERDICT.WRONG_EPOCH);
    expect(judge(block, { ...expected, round: 43 })).toBe(VERDICT.WRONG_ROUND);
    expect(judge(block, { ...expected, rank: 2 })).toBe(VERDICT.WRONG_RANK);
    expect(judge(block, { ...expected, index: 1 })).toBe(VERDICT.WRONG_INDEX);
    const stranger = { ...expected, incarnation: filled(8, 1) };
    expect(judge(block, stranger)).toBe(VERDICT.WRONG_INCARNATION);
    expect(judge(block, { ...expected, transactionsMax: 3 })).toBe(VERDICT.TOO_LARGE);
    const waiting = { ...expected, checkAnchor: () => VERDICT.ANCHOR_UNKNOWN };
    expect(judge(block, waiting)).toBe(VERDICT.ANCHOR_UNKNOWN);
    const at = (offset: number) => 3 + offset;
    // The difficulty that counts is the chain's: claiming less, or asking for more, does not pass.
    const easy = altered(block, (b) => b.fill(0, at(BLOCK_OFFSET.puzzleDifficulty), at(117)));
    expect(judge(easy)).toBe(VERDICT.WRONG_DIFFICULTY);
    expect(judge(block, { ...expected, difficulty: 40 })).toBe(VERDICT.WRONG_DIFFICULTY);
    const padded = altered(block, (b) => b.fill(1, at(BLOCK_OFFSET.zero), at(118)));
    expect(judge(padded)).toBe(VERDICT.WRONG_DIFFICULTY);
    const root = altered(block, (b) => b.fill(1, at(BLOCK_OFFSET.merkleRoot), at(121)));
    expect(judge(root)).toBe(VERDICT.WRONG_ROOT);
    for (const counter of [0, 3, 5, 0xffff_ffff]) {
      const lying = altered(block, (b) => writeU32(b, at(BLOCK_OFFSET.txnCounter), counter));
      expect(judge(lying)).not.toBe(VERDICT.OK);
    }
    const unsolved = block.slice();
    do {
      unsolved[at(BLOCK_OFFSET.nonce)]++;
    } while (hasLeadingZeros(sha256(unsolved.subarray(3, 163)), 0, SETTING.puzzleDifficulty));
    expect(judge(unsolved)).toBe(VERDICT.PUZZLE_UNSOLVED);
    const foreign = encodeTransaction({ ...TRANSFER, chainId: filled(16, 9) });
    expect(judge(makeBlock([foreign]))).toBe(VERDICT.WRONG_CHAIN);
  });

  test("no room for the txnIDs is a verdict, not a write beyond", () => {
    const block = makeBlock(transfers(4));
    const ids = new Uint8Array(32 * 4 - 1);
    const verdict = checkBlock(block, 0, block.length, expectations(), ids, 0, check);
    expect(verdict).toBe(VERDICT.TOO_LARGE);
    expect(ids.every((byte) => byte === 0)).toBe(true);
  });

  test("a body length is taken in msgpackr's form only", () => {
    const block = makeBlock(transfers(1));
    const wide = new Uint8Array([...block.slice(0, 163), 0xc5, 0, 68, ...block.slice(165)]);
    expect(locateBlock(wide, 0, wide.length, createBlockLocation())).toBe(VERDICT.BAD_SHAPE);
  });

  test("a body is scanned within its bounds", () => {
    const block = makeBlock(transfers(3));
    const location = createBlockLocation();
    locateBlock(block, 0, block.length, location);
    const { bodyOffset, bodyLength } = location;
    const spans = new Uint32Array(6);
    expect(scanBody(block, bodyOffset, bodyLength, 3, spans)).toBe(VERDICT.OK);
    expect([...spans]).toEqual([0, 1, 2].flatMap((i) => [bodyOffset + 4 + 68 * i, 64]));
    expect(scanBody(block, bodyOffset, bodyLength, 2, spans)).toBe(VERDICT.TRAILING_BYTES);
    expect(scanBody(block, bodyOffset, bodyLength, 4, spans)).not.toBe(VERDICT.OK);
    expect(scanBody(block, bodyOffset, bodyLength, 3, spans.subarray(2))).toBe(VERDICT.TOO_LARGE);
    expect(scanBody(block, bodyOffset, bodyLength + 1, 3, spans)).toBe(VERDICT.TRUNCATED);
  });

  test("the chain hash covers block, parent and height", () => {
    const out = new Uint8Array(32);
    chainHash(filled(32, 1), 0, filled(32, 2), 0, 0x0102, out, 0);
    const height = Uint8Array.of(2, 1, 0, 0, 0, 0, 0, 0);
    expect<Uint8Array>(out).toEqual(sha256(filled(32, 1), filled(32, 2), height));
    // In place: the tip of a chain is its own parent's place.
    const tip = filled(32, 2);
    chainHash(filled(32, 1), 0, tip, 0, 0x0102, tip, 0);
    expect(tip).toEqual(out);
  });

  test("the difficulty counts bits, not bytes", () => {
    expect(hasLeadingZeros(Uint8Array.of(0, 0x1f), 0, 11)).toBe(true);
    expect(hasLeadingZeros(Uint8Array.of(0, 0x1f), 0, 12)).toBe(false);
    expect(hasLeadingZeros(Uint8Array.of(0xff), 0, 0)).toBe(true);
  });

  test("assembling reads from shared memory at any place", () => {
    const one = encodeTransaction(TRANSFER);
    const source = new Uint8Array(new SharedArrayBuffer(1000));
    source.set(one, 900);
    const spans = Uint32Array.of(900, one.length);
    const ids = new Uint8Array(40);
    kernels.leafHashes(source, spans, 1, ids, 8);
    const out = new Uint8Array(new SharedArrayBuffer(512));
    const transactions = { bytes: source, spans, count: 1, ids, idsOffset: 8 };
    const length = assembleBlock(out, 16, SETTING, transactions);
    expect(length).toBe(blockMessageBytes(bodyBytes(spans, 1)));
    mineBlock(out, 19, SETTING.puzzleDifficulty, 0, 2 ** 30);
    expect<Uint8Array>(out.slice(16, 16 + length)).toEqual(makeBlock([one]));
  });
});
