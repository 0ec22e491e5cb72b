/**
 * The Merkle tree of RFC 9162 (section 2.1): heads, proofs and their verification, and a compact range
 * that grows a tree leaf by leaf in O(log n) memory. Hashes are 32 bytes; a list of leaf hashes is
 * one array with one after the other. Proofs come from any source of subtree heads, so that tiles and
 * memory share the code; clients verify with this file alone.
 */
import { assert } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { HASH_BYTES, sha256 } from "../base/sha256.ts";

const LEAF_PREFIX = new Uint8Array([0]);
const NODE_PREFIX = new Uint8Array([1]);

export function leafHashOf(entry: Uint8Array): Uint8Array {
  return sha256(LEAF_PREFIX, entry);
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(NODE_PREFIX, left, right);
}

/** MTH over `count` leaf hashes; of none: SHA-256(""). */
export function treeHead(leaves: Uint8Array, count: number, offset = 0): Uint8Array {
  const head = new Uint8Array(HASH_BYTES);
  kernels.merkleRoot(leaves, offset, count, head, 0);
  return head;
}

/** The head over the leaves [start, end). Start is a multiple of the power of two that end - start fits in. */
export type SubtreeHead = (start: number, end: number) => Uint8Array;

/** Subtree heads of leaf hashes in memory. */
export function subtreesOf(leaves: Uint8Array): SubtreeHead {
  return (start, end) => treeHead(leaves, end - start, HASH_BYTES * start);
}

/** The largest power of two below n, for n > 1. Sizes go beyond 32 bits: no shifts. */
function splitPoint(n: number): number {
  let k = 1;
  while (2 * k < n) k *= 2;
  return k;
}

/** RFC 9162 2.1.3.1: the audit path of leaf `index` in the tree of `size` leaves, from the leaf up. */
export function inclusionProof(index: number, size: number, head: SubtreeHead): Uint8Array[] {
  assert(index >= 0 && index < size, "inclusionProof needs a leaf of the tree");
  const path: Uint8Array[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitPoint(end - start);
    if (index < middle) {
      path.push(head(middle, end));
      end = middle;
    } else {
      path.push(head(start, middle));
      start = middle;
    }
  }
  return path.reverse();
}

/** RFC 9162 2.1.4.1: shows that the tree of `first` leaves is a prefix of that of `second`. */
export function consistencyProof(first: number, second: number, head: SubtreeHead): Uint8Array[] {
  assert(first > 0 && first <= second, "consistencyProof needs 0 < first <= second");
  const path: Uint8Array[] = [];
  let start = 0;
  let end = second;
  /** Whether the subtree [0, first) itself is known to the verifier: its old head. */
  let known = true;
  while (first !== end) {
    const middle = start + splitPoint(end - start);
    if (first <= middle) {
      path.push(head(middle, end));
      end = middle;
    } else {
      path.push(head(start, middle));
      start = middle;
      known = false;
    }
  }
  if (!known) path.push(head(start, end));
  return path.reverse();
}

export interface InclusionClaim {
  leafHash: Uint8Array;
  index: number;
  size: number;
  root: Uint8Array;
}

function areSizes(...numbers: number[]): boolean {
  return numbers.every((number) => Number.isSafeInteger(number) && number >= 0);
}

/** RFC 9162 2.1.3.2. False for anything that does not fit. */
export function verifyInclusion(claim: InclusionClaim, proof: readonly Uint8Array[]): boolean {
  if (!areSizes(claim.index, claim.size) || claim.index >= claim.size) return false;
  let fn = claim.index;
  let sn = claim.size - 1;
  let r = claim.leafHash;
  for (const p of proof) {
    if (sn === 0 || p.length !== HASH_BYTES) return false;
    if (fn % 2 === 1 || fn === sn) {
      r = nodeHash(p, r);
      while (fn % 2 === 0 && fn !== 0) {
        fn = fn / 2;
        sn = Math.floor(sn / 2);
      }
    } else {
      r = nodeHash(r, p);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 && equalBytes(r, claim.root);
}

export interface ConsistencyClaim {
  first: number;
  firstRoot: Uint8Array;
  second: number;
  secondRoot: Uint8Array;
}

/** RFC 9162 2.1.4.2. The empty tree is a prefix of every tree. False for anything that does not fit. */
export function verifyConsistency(claim: ConsistencyClaim, proof: readonly Uint8Array[]): boolean {
  const { first, second, firstRoot, secondRoot } = claim;
  if (!areSizes(first, second) || first > second) return false;
  if (first === second) return proof.length === 0 && equalBytes(firstRoot, secondRoot);
  if (first === 0) return proof.length === 0 && equalBytes(firstRoot, sha256(new Uint8Array(0)));
  if (proof.length === 0 || proof.some((p) => p.length !== HASH_BYTES)) return false;
  const path = Number.isInteger(Math.log2(first)) ? [firstRoot, ...proof] : proof;
  let fn = first - 1;
  let sn = second - 1;
  while (fn % 2 === 1) {
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  let fr = path[0];
  let sr = path[0];
  for (const c of path.slice(1)) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      fr = nodeHash(c, fr);
      sr = nodeHash(c, sr);
      while (fn % 2 === 0 && fn !== 0) {
        fn = fn / 2;
        sn = Math.floor(sn / 2);
      }
    } else {
      sr = nodeHash(sr, c);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 && equalBytes(fr, firstRoot) && equalBytes(sr, secondRoot);
}

/** Perfect subtrees of [0, size) from left to right: enough to append and to tell the head. */
export class CompactRange {
  #hashes: Uint8Array[];
  #size: number;

  constructor(size = 0, hashes: readonly Uint8Array[] = []) {
    assert(
      hashes.length === subtreeCount(size),
      "a compact range has a hash for each bit of its size",
    );
    this.#size = size;
    this.#hashes = [...hashes];
  }

  get size(): number {
    return this.#size;
  }

  /** Heads of the perfect subtrees, the largest first: what a checkpoint keeps. */
  get hashes(): readonly Uint8Array[] {
    return this.#hashes;
  }

  /** Appends `count` leaf hashes that lie one after the other, whole subtrees at a time. */
  appendMany(leaves: Uint8Array, count: number): void {
    for (let at = 0; at < count; ) {
      let width = 1;
      while (this.#size % (2 * width) === 0 && at + 2 * width <= count) width *= 2;
      this.#appendSubtree(treeHead(leaves, width, HASH_BYTES * at), width);
      at += width;
    }
  }

  /** Copies the leaf hash. */
  append(leaf: Uint8Array): void {
    this.#appendSubtree(leaf.slice(), 1);
  }

  /** The head of a perfect subtree of `width` leaves that begins where the range ends. */
  #appendSubtree(head: Uint8Array, width: number): void {
    let node = head;
    for (let size = this.#size / width; size % 2 === 1; size = Math.floor(size / 2)) {
      const left = this.#hashes.pop();
      assert(left !== undefined, "an odd size ends in a subtree");
      node = nodeHash(left, node);
    }
    this.#hashes.push(node);
    this.#size += width;
  }

  root(): Uint8Array {
    let root = this.#hashes.at(-1);
    if (root === undefined) return sha256(new Uint8Array(0));
    for (let i = this.#hashes.length - 2; i >= 0; i--) root = nodeHash(this.#hashes[i], root);
    return root;
  }

  clone(): CompactRange {
    return new CompactRange(this.#size, this.#hashes);
  }
}

/** Perfect subtrees of a tree: the one bits of its size. */
export function subtreeCount(size: number): number {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}
