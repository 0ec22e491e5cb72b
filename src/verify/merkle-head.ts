/**
 * The head of a growing RFC 9162 Merkle tree: the roots of its complete subtrees, largest first.
 * Memory grows with the logarithm of the leaves.
 */
import { sha256 } from "./genesis-reader.ts";

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export class MerkleHead {
  size = 0;
  private readonly subtrees: Uint8Array[] = [];

  append(leafInput: Uint8Array): void {
    let hash = sha256(LEAF, leafInput);
    // One subtree merges for each trailing one bit of the old size.
    for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) {
      hash = sha256(NODE, this.subtrees.pop()!, hash);
    }
    this.subtrees.push(hash);
    this.size++;
  }

  root(): Uint8Array {
    if (this.size === 0) return sha256("");
    let root = this.subtrees[this.subtrees.length - 1];
    for (let i = this.subtrees.length - 2; i >= 0; i--) root = sha256(NODE, this.subtrees[i], root);
    return root;
  }
}
