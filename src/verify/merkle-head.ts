/**
 * The head of a growing RFC 9162 Merkle tree: the roots of its complete subtrees, largest first.
 * Memory grows with the logarithm of the leaves.
 */
import { kernels } from "../base/kernels.ts";
import { sha256 } from "./genesis-reader.ts";

/** 0x01, then the hashes of the two children. */
const node = Uint8Array.of(1, ...new Uint8Array(64));
/** 0x00, then the leaf's input of 32 bytes. */
const leaf = new Uint8Array(33);

function hash(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(32);
  kernels.sha256(bytes, 0, bytes.length, out, 0);
  return out;
}

function join(left: Uint8Array, right: Uint8Array): Uint8Array {
  node.set(left, 1);
  node.set(right, 33);
  return hash(node);
}

export class MerkleHead {
  size = 0;
  private readonly subtrees: Uint8Array[] = [];

  /** `leafInput` has 32 bytes. */
  append(leafInput: Uint8Array): void {
    leaf.set(leafInput, 1);
    let head = hash(leaf);
    // One subtree merges for each trailing one bit of the old size.
    for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) {
      head = join(this.subtrees.pop()!, head);
    }
    this.subtrees.push(head);
    this.size++;
  }

  root(): Uint8Array {
    if (this.size === 0) return sha256("");
    let root = this.subtrees[this.subtrees.length - 1];
    for (let i = this.subtrees.length - 2; i >= 0; i--) root = join(this.subtrees[i], root);
    return root;
  }
}
