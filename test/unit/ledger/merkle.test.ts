import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { concatBytes, fromHex, toHex } from "../../../src/base/bytes.ts";
import {
  CompactRange,
  consistencyProof,
  inclusionProof,
  leafHashOf,
  subtreeCount,
  subtreesOf,
  treeHead,
  verifyConsistency,
  verifyInclusion,
} from "../../../src/ledger/merkle.ts";

// The published vectors of the reference implementation of Certificate Transparency.
const INPUTS = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
];
const ROOTS = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const LEAVES = concatBytes(INPUTS.map((input) => leafHashOf(fromHex(input))));

function leavesOf(count: number): Uint8Array {
  return concatBytes(
    Array.from({ length: count }, (_, i) => leafHashOf(Uint8Array.of(i, i >>> 8))),
  );
}

function leafAt(leaves: Uint8Array, index: number): Uint8Array {
  return leaves.subarray(32 * index, 32 * index + 32);
}

describe("merkle", () => {
  test("the empty tree", () => {
    const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    expect(toHex(treeHead(new Uint8Array(0), 0))).toBe(empty);
    expect(toHex(new CompactRange().root())).toBe(empty);
  });

  test("the published heads", () => {
    const range = new CompactRange();
    ROOTS.forEach((root, i) => {
      range.append(leafAt(LEAVES, i));
      expect(toHex(treeHead(LEAVES, i + 1))).toBe(root);
      expect(toHex(range.root())).toBe(root);
    });
  });

  test("the published inclusion proofs", () => {
    const vectors: [number, number, string[]][] = [
      [0, 1, []],
      [
        0,
        8,
        [
          "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
          "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
      ],
      [
        5,
        8,
        [
          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
          "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
      ],
      [2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]],
      [
        1,
        5,
        [
          "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
      ],
    ];
    for (const [index, size, path] of vectors) {
      const proof = inclusionProof(index, size, subtreesOf(LEAVES));
      expect(proof.map((hash) => toHex(hash))).toEqual(path);
      const root = fromHex(ROOTS[size - 1]);
      expect(verifyInclusion({ leafHash: leafAt(LEAVES, index), index, size, root }, proof)).toBe(
        true,
      );
    }
  });

  test("the published consistency proofs", () => {
    const vectors: [number, number, string[]][] = [
      [1, 1, []],
      [
        1,
        8,
        [
          "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
          "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
      ],
      [
        6,
        8,
        [
          "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
          "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
      ],
      [
        2,
        5,
        [
          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
      ],
    ];
    for (const [first, second, path] of vectors) {
      const proof = consistencyProof(first, second, subtreesOf(LEAVES));
      expect(proof.map((hash) => toHex(hash))).toEqual(path);
      const firstRoot = fromHex(ROOTS[first - 1]);
      const secondRoot = fromHex(ROOTS[second - 1]);
      expect(verifyConsistency({ first, firstRoot, second, secondRoot }, proof)).toBe(true);
    }
  });

  test("every leaf of every tree up to 40 is proved, and nothing else", () => {
    const leaves = leavesOf(40);
    for (let size = 1; size <= 40; size++) {
      const root = treeHead(leaves, size);
      for (let index = 0; index < size; index++) {
        const proof = inclusionProof(index, size, subtreesOf(leaves));
        const claim = { leafHash: leafAt(leaves, index), index, size, root };
        expect(verifyInclusion(claim, proof)).toBe(true);
        expect(verifyInclusion({ ...claim, index: (index + 1) % size }, proof)).toBe(size === 1);
        expect(verifyInclusion({ ...claim, leafHash: root }, proof)).toBe(size === 1);
        expect(verifyInclusion(claim, [...proof, root])).toBe(false);
        if (size > 1) expect(verifyInclusion(claim, proof.slice(1))).toBe(false);
      }
    }
  });

  test("every prefix of every tree up to 40 is proved, and nothing else", () => {
    const leaves = leavesOf(40);
    for (let second = 1; second <= 40; second++) {
      const secondRoot = treeHead(leaves, second);
      for (let first = 1; first <= second; first++) {
        const firstRoot = treeHead(leaves, first);
        const proof = consistencyProof(first, second, subtreesOf(leaves));
        const claim = { first, firstRoot, second, secondRoot };
        expect(verifyConsistency(claim, proof)).toBe(true);
        const forged = { ...claim, firstRoot: leafHashOf(firstRoot) };
        expect(verifyConsistency(forged, proof)).toBe(false);
        expect(verifyConsistency({ ...claim, secondRoot: forged.firstRoot }, proof)).toBe(false);
        expect(verifyConsistency(claim, [...proof, firstRoot])).toBe(false);
        if (proof.length > 0) expect(verifyConsistency(claim, proof.slice(1))).toBe(false);
      }
    }
  });

  test("growing is the same as hashing all, and continues from its hashes", () => {
    fc.assert(
      fc.property(fc.nat(300), fc.nat(100), (before, after) => {
        const leaves = leavesOf(before + after);
        let range = new CompactRange();
        for (let i = 0; i < before; i++) range.append(leafAt(leaves, i));
        expect(range.hashes.length).toBe(subtreeCount(before));
        range = new CompactRange(range.size, range.hashes);
        for (let i = before; i < before + after; i++) range.append(leafAt(leaves, i));
        expect(range.size).toBe(before + after);
        expect(range.root()).toEqual(treeHead(leaves, before + after));
      }),
      { numRuns: 60 },
    );
  });

  test("a range keeps what was appended when the caller reuses its array", () => {
    const range = new CompactRange();
    const leaf = new Uint8Array(32);
    for (let i = 0; i < 5; i++) {
      leaf.set(leafAt(LEAVES, i));
      range.append(leaf);
    }
    expect(toHex(range.root())).toBe(ROOTS[4]);
  });

  test("proofs of any shape are judged without a throw", () => {
    const part = fc.uint8Array({ maxLength: 40 });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), fc.double(), fc.double(), (proof, a, b) => {
        const root = new Uint8Array(32);
        expect(
          verifyInclusion({ leafHash: leafHashOf(root), index: a, size: b, root }, proof),
        ).toBe(false);
        const claim = { first: a, firstRoot: root, second: b, secondRoot: leafHashOf(root) };
        expect(verifyConsistency(claim, proof)).toBe(false);
      }),
    );
  });
});
