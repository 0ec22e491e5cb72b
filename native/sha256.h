// SHA-256 of messages, many messages at once, HMAC (RFC 2104), Merkle heads (RFC 9162) and the
// puzzle search, over `compress`. Any thread may call anything here; nothing allocates but
// `searchPuzzle`. Callers have checked all ranges. Inputs are read and outputs written during the
// call only.
#pragma once

#include <algorithm>
#include <vector>

#include "sha256-compress.h"

namespace baash {

inline void writeDigest(const State state, uint8_t* out) {
  uint32_t words[8];
  for (int i = 0; i < 8; i++) words[i] = __builtin_bswap32(state[i]);
  std::memcpy(out, words, kHashBytes);
}

// Writes the length in bits that ends a padded message, before `end`.
inline void writeBits(uint8_t* end, uint64_t messageBytes) {
  const uint64_t bits = __builtin_bswap64(messageBytes * 8);
  std::memcpy(end - 8, &bits, 8);
}

// Writes the end of a message: its last `rest` (< 64) bytes, 0x80, zeros and the length in bits.
// Returns how many blocks that took, 1 or 2. `tail` has room for two.
inline size_t padTail(uint8_t* tail, const uint8_t* from, size_t rest, uint64_t messageBytes) {
  const size_t blocks = rest + 9 <= kBlockBytes ? 1 : 2;
  std::memset(tail, 0, blocks * kBlockBytes);
  if (rest > 0) std::memcpy(tail, from, rest);
  tail[rest] = 0x80;
  writeBits(tail + blocks * kBlockBytes, messageBytes);
  return blocks;
}

// Hashes the rest of a message of which `before` bytes (a multiple of 64) are in `state` already.
inline void finish(State state, const uint8_t* bytes, size_t length, uint64_t before,
                   uint8_t* out) {
  const size_t whole = length / kBlockBytes;
  compress.one(state, bytes, whole);
  uint8_t tail[2 * kBlockBytes];
  const size_t rest = length - whole * kBlockBytes;
  const size_t blocks = padTail(tail, bytes + whole * kBlockBytes, rest, before + length);
  compress.one(state, tail, blocks);
  writeDigest(state, out);
}

inline void sha256(const uint8_t* bytes, size_t length, uint8_t* out) {
  State state;
  initialState(state);
  finish(state, bytes, length, 0, out);
}

inline void hmacSha256(const uint8_t* key, size_t keyBytes, const uint8_t* bytes, size_t length,
                       uint8_t* out) {
  uint8_t padded[kBlockBytes] = {};
  if (keyBytes > kBlockBytes) sha256(key, keyBytes, padded);
  else if (keyBytes > 0) std::memcpy(padded, key, keyBytes);
  uint8_t block[kBlockBytes], inner[kHashBytes];
  State state;
  for (size_t i = 0; i < kBlockBytes; i++) block[i] = padded[i] ^ 0x36;
  initialState(state);
  compress.one(state, block, 1);
  finish(state, bytes, length, kBlockBytes, inner);
  for (size_t i = 0; i < kBlockBytes; i++) block[i] = padded[i] ^ 0x5c;
  initialState(state);
  compress.one(state, block, 1);
  finish(state, inner, kHashBytes, kBlockBytes, out);
}

// A block that starts with a prefix byte and goes on with 63 bytes. Whole-vector stores, because a
// load that spans two smaller stores waits for both of them to reach the cache.
inline void prefixedBlock(uint8_t* block, uint8_t prefix, const uint8_t* from) {
#if defined(__x86_64__)
  auto* to = reinterpret_cast<__m128i*>(block);
  const __m128i start = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  _mm_storeu_si128(to, _mm_or_si128(_mm_slli_si128(start, 1), _mm_cvtsi32_si128(prefix)));
  for (int i = 1; i < 4; i++) {
    const auto* at = reinterpret_cast<const __m128i*>(from + 16 * i - 1);
    _mm_storeu_si128(to + i, _mm_loadu_si128(at));
  }
#else
  block[0] = prefix;
  std::memcpy(block + 1, from, kBlockBytes - 1);
#endif
}

// One message on its way through a lane. A short one is copied and padded, so that it is a single
// run of blocks and its state never leaves the registers; a long one is up to three runs (a head
// that holds the prefix, blocks read in place, the padded tail).
class Lane {
 public:
  State state;
  size_t index;

  void load(size_t messageIndex, const uint8_t* bytes, size_t length, bool leaf) {
    index = messageIndex;
    initialState(state);
    run_ = 0;
    const size_t prefix = leaf ? 1 : 0;
    const size_t total = length + prefix;
    if (total + 9 <= sizeof copy_) {
      copy_[0] = 0;
      if (length > 0) std::memcpy(copy_ + prefix, bytes, length);
      const size_t blocks = (total + 9 + kBlockBytes - 1) / kBlockBytes;
      std::memset(copy_ + total, 0, blocks * kBlockBytes - total);
      copy_[total] = 0x80;
      writeBits(copy_ + blocks * kBlockBytes, total);
      runs_[0] = {copy_, blocks};
      runCount_ = 1;
      return;
    }
    runCount_ = 0;
    size_t taken = 0;
    if (leaf) {
      prefixedBlock(copy_, 0, bytes);
      runs_[runCount_++] = {copy_, 1};
      taken = kBlockBytes - 1;
    }
    const size_t whole = (length - taken) / kBlockBytes;
    if (whole > 0) runs_[runCount_++] = {bytes + taken, whole};
    taken += whole * kBlockBytes;
    uint8_t* tail = copy_ + kBlockBytes;
    runs_[runCount_++] = {tail, padTail(tail, bytes + taken, length - taken, total)};
  }

  const uint8_t* at() const { return runs_[run_].from; }
  size_t blocks() const { return runs_[run_].blocks; }
  bool done() const { return run_ == runCount_; }

  void advance(size_t blocks) {
    Run& run = runs_[run_];
    run.from += blocks * kBlockBytes;
    run.blocks -= blocks;
    if (run.blocks == 0) run_++;
  }

 private:
  struct Run {
    const uint8_t* from;
    size_t blocks;
  };
  Run runs_[3];
  size_t run_ = 0, runCount_ = 0;
  // 512 bytes: YCSB transactions with one or four fields and SmallBank's are shorter.
  alignas(kBlockBytes) uint8_t copy_[8 * kBlockBytes];
};

// SHA-256 of `count` spans (offset and length, in bytes), with the leaf prefix 0x00 or without. Two
// lanes; a lane that ends takes the next message, so messages of unequal length waste nothing. Each
// lane's next message is prepared before its current one is hashed: a load that meets several
// smaller stores on their way to the cache would wait for them.
inline void hashSpans(const uint8_t* bytes, const uint32_t* spans, size_t count, bool leaf,
                      uint8_t* out) {
  Lane lanes[4];
  size_t next = 0;
  const auto load = [&](Lane* lane) {
    if (next == count) return;
    lane->load(next, bytes + spans[2 * next], spans[2 * next + 1], leaf);
    next++;
  };
  Lane* now[2] = {&lanes[0], &lanes[1]};
  Lane* later[2] = {&lanes[2], &lanes[3]};
  for (Lane& lane : lanes) load(&lane);
  while (!now[0]->done() && !now[1]->done()) {
    const size_t blocks = std::min(now[0]->blocks(), now[1]->blocks());
    compress.two(now[0]->state, now[0]->at(), now[1]->state, now[1]->at(), blocks);
    for (size_t i = 0; i < 2; i++) {
      now[i]->advance(blocks);
      if (!now[i]->done()) continue;
      writeDigest(now[i]->state, out + kHashBytes * now[i]->index);
      const size_t from = later[i]->done() ? 1 - i : i;
      std::swap(now[i], later[from]);
      load(later[from]);
    }
  }
  // One lane is left with work, or none.
  for (Lane& lane : lanes) {
    if (lane.done()) continue;
    for (; !lane.done(); lane.advance(lane.blocks())) {
      compress.one(lane.state, lane.at(), lane.blocks());
    }
    writeDigest(lane.state, out + kHashBytes * lane.index);
  }
}

// ---- Merkle tree heads, RFC 9162 section 2.1.1 ------------------------------------------------

// The two blocks of SHA-256(0x01 ‖ left ‖ right) over 64 bytes that lie together.
inline void nodeBlocks(uint8_t* blocks, const uint8_t* children) {
  prefixedBlock(blocks, 1, children);
  std::memset(blocks + kBlockBytes, 0, kBlockBytes);
  const uint32_t start = children[63] | 0x8000u;
  std::memcpy(blocks + kBlockBytes, &start, 4);
  const uint32_t bits = __builtin_bswap32(8 * (2 * kHashBytes + 1));
  std::memcpy(blocks + 2 * kBlockBytes - 4, &bits, 4);
}

// Hashes `pairs` pairs of neighbours; `to` may be where they lie (a parent never overtakes a
// child).
inline void nodeHashes(const uint8_t* children, size_t pairs, uint8_t* to) {
  alignas(16) uint8_t first[2 * kBlockBytes], second[2 * kBlockBytes];
  State s, t;
  size_t i = 0;
  for (; i + 2 <= pairs; i += 2) {
    nodeBlocks(first, children + 64 * i);
    nodeBlocks(second, children + 64 * (i + 1));
    initialState(s);
    initialState(t);
    compress.two(s, first, t, second, 2);
    writeDigest(s, to + kHashBytes * i);
    writeDigest(t, to + kHashBytes * (i + 1));
  }
  if (i < pairs) {
    nodeBlocks(first, children + 64 * i);
    initialState(s);
    compress.one(s, first, 2);
    writeDigest(s, to + kHashBytes * i);
  }
}

// Leaves that one stack buffer of 16 KiB (the first level above them) can reduce: fits every L1
// cache.
inline constexpr size_t kSubtreeLeaves = 1024;

// Level by level; an odd node at the end of a level moves up unchanged, which yields the same tree
// as the recursive definition.
inline void subtreeHead(const uint8_t* leaves, size_t count, uint8_t* out) {
  uint8_t level[kSubtreeLeaves / 2 * kHashBytes];
  const uint8_t* from = leaves;
  for (size_t n = count; n > 1; n = (n + 1) / 2) {
    nodeHashes(from, n / 2, level);
    if (n % 2 == 1) std::memmove(level + kHashBytes * (n / 2), from + kHashBytes * (n - 1), 32);
    from = level;
  }
  std::memcpy(out, from, kHashBytes);
}

inline void merkleRoot(const uint8_t* leaves, size_t count, uint8_t* out) {
  if (count == 0) return sha256(nullptr, 0, out);
  if (count <= kSubtreeLeaves) return subtreeHead(leaves, count, out);
  size_t left = kSubtreeLeaves;
  while (left * 2 < count) left *= 2;
  uint8_t children[2 * kHashBytes];
  merkleRoot(leaves, left, children);
  merkleRoot(leaves + kHashBytes * left, count - left, children + kHashBytes);
  nodeHashes(children, 1, out);
}

// ---- the puzzle -------------------------------------------------------------------------------

inline bool hasLeadingZeroBits(const State state, int bits) {
  const uint64_t top = (uint64_t{state[0]} << 32) | state[1];
  return bits == 0 || (top >> (64 - bits)) == 0;
}

// Tries the nonces first, first + 1, … and writes the winner to bytes[nonceOffset..+8). Returns how
// many were tried, or -1 with `bytes` unchanged. 0 ≤ bits ≤ 64. The blocks before the nonce are
// hashed once.
inline int64_t searchPuzzle(uint8_t* bytes, size_t length, size_t nonceOffset, int bits,
                            uint64_t first, uint64_t tries) {
  const size_t fixed = nonceOffset / kBlockBytes * kBlockBytes;
  State middle;
  initialState(middle);
  compress.one(middle, bytes, fixed / kBlockBytes);

  // Four copies of the rest: while two are hashed the next nonces go to the other two, so that no
  // load meets a store that is still on its way to the cache.
  const size_t restBytes = length - fixed;
  const size_t roomBytes = (restBytes / kBlockBytes + 2) * kBlockBytes;
  std::vector<uint8_t> copies(4 * roomBytes);
  const size_t whole = restBytes / kBlockBytes * kBlockBytes;
  std::memcpy(copies.data(), bytes + fixed, whole);
  const size_t tailBlocks =
      padTail(copies.data() + whole, bytes + fixed + whole, restBytes - whole, length);
  const size_t blocks = whole / kBlockBytes + tailBlocks;
  for (size_t i = 1; i < 4; i++) std::memcpy(&copies[i * roomBytes], copies.data(), roomBytes);
  const auto setNonce = [&](size_t copy, uint64_t nonce) {
    std::memcpy(&copies[copy * roomBytes + nonceOffset - fixed], &nonce, 8);
  };
  const auto won = [&](uint64_t index) {
    const uint64_t nonce = first + index;
    std::memcpy(bytes + nonceOffset, &nonce, 8);
    return static_cast<int64_t>(index + 1);
  };

  State s, t;
  setNonce(0, first);
  setNonce(1, first + 1);
  uint64_t i = 0;
  for (; i + 2 <= tries; i += 2) {
    const size_t pair = i & 2;
    setNonce(pair ^ 2, first + i + 2);
    setNonce((pair ^ 2) + 1, first + i + 3);
    std::memcpy(s, middle, sizeof s);
    std::memcpy(t, middle, sizeof t);
    compress.two(s, &copies[pair * roomBytes], t, &copies[(pair + 1) * roomBytes], blocks);
    if (hasLeadingZeroBits(s, bits)) return won(i);
    if (hasLeadingZeroBits(t, bits)) return won(i + 1);
  }
  if (i < tries) {
    std::memcpy(s, middle, sizeof s);
    compress.one(s, &copies[(i & 2) * roomBytes], blocks);
    if (hasLeadingZeroBits(s, bits)) return won(i);
  }
  return -1;
}

}  // namespace baash
