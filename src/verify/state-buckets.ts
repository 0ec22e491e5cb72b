/**
 * The state root's first part: 65,536 buckets of entries under a perfect binary tree. Only buckets
 * that changed are hashed again, and the tree above them.
 */
import { writeU16, writeU32 } from "../base/bytes.ts";
import { sha256 } from "./genesis-reader.ts";

const BUCKETS = 65_536;
const NODE = Uint8Array.of(1);

export class StateBuckets {
  private readonly entries: (Map<string, Uint8Array> | undefined)[] = new Array(BUCKETS);
  private readonly changed = new Set<number>();
  /** Node i has children 2i and 2i+1; leaves begin at BUCKETS; node 1 is the root. */
  private readonly nodes = new Uint8Array(32 * 2 * BUCKETS);

  constructor() {
    // All buckets are empty, so all nodes of a level are alike.
    for (let first = BUCKETS / 2; first >= 1; first /= 2) {
      this.hashNode(first);
      for (let node = first + 1; node < 2 * first; node++) {
        this.nodes.copyWithin(32 * node, 32 * first, 32 * first + 32);
      }
    }
  }

  /** Sets an entry, or removes it when `value` is undefined. Keys are latin1 text. */
  put(key: string, value: Uint8Array | undefined): void {
    const bucket = bucketOf(key);
    this.changed.add(bucket);
    let entries = this.entries[bucket];
    if (value === undefined) {
      entries?.delete(key);
      return;
    }
    if (entries === undefined) this.entries[bucket] = entries = new Map();
    entries.set(key, value);
  }

  root(): Uint8Array {
    let level = new Set<number>();
    for (const bucket of this.changed) {
      this.nodes.set(this.hashBucket(bucket), 32 * (BUCKETS + bucket));
      level.add((BUCKETS + bucket) >>> 1);
    }
    this.changed.clear();
    while (level.size > 0) {
      const above = new Set<number>();
      for (const node of level) {
        this.hashNode(node);
        if (node > 1) above.add(node >>> 1);
      }
      level = above;
    }
    return this.nodes.slice(32, 64);
  }

  private hashNode(node: number): void {
    this.nodes.set(sha256(NODE, this.nodes.subarray(64 * node, 64 * node + 64)), 32 * node);
  }

  private hashBucket(bucket: number): Uint8Array {
    const entries = this.entries[bucket];
    if (entries === undefined || entries.size === 0) return new Uint8Array(32);
    const keys = [...entries.keys()].sort();
    const parts: Uint8Array[] = [];
    for (const key of keys) {
      const value = entries.get(key)!;
      const head = new Uint8Array(2 + key.length + 4);
      writeU16(head, 0, key.length);
      for (let i = 0; i < key.length; i++) head[2 + i] = key.charCodeAt(i);
      writeU32(head, 2 + key.length, value.length);
      parts.push(head, value);
    }
    return sha256(...parts);
  }
}

/** FNV-1a over the key, finished by murmur3's mixer; the top 16 bits. */
export function bucketOf(key: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) h = Math.imul(h ^ key.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return h >>> 16;
}
