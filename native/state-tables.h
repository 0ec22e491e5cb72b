// The tables of src/ledger as native code sees them: JavaScript owns them and says how they are laid out
// (remembered.ts, records-table.ts, number-table.ts). Look-ups, hashes, and the end of a round: what it
// forgets. One thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace baash {

// Places of `control`, numbers that JavaScript and this share (src/ledger/native-execution.ts).
enum Control : size_t {
  kBlock,        // of `blocks`: the one under way
  kIndex,        // in it: the transaction that is next
  kAt,           // where that transaction's length lies
  kDone,         // transactions of this call that are done
  kOutcome,      // what JavaScript's operation on that transaction came to, or -1
  kRound,        // that is executed, or whose last valid transactions are forgotten
  kSender,       // of the transaction before, and its floor; -1: look it up
  kFloor,
  kFree,         // remembered: list of free entries, first entry never used, entries in memory
  kEnd,
  kCapacity,
  kRemembered,   // entries in use, and at most
  kRememberedMax,
  kIndexShift,   // records: home of a hash is hash >> shift
  kFloorShift,
  kBalanceShift,
  kAccounts,     // that hold something
  kTransaction,  // for JavaScript's operation: where it begins, its sender, the hash of its key
  kTransactionSender,
  kKeyHash,
  kCounts,       // transactions by outcome
  kControlCount = kCounts + 10,
};

// What a call ends with.
enum Turn : int {
  kAllDone = 0,
  kOperate = 1,  // JavaScript carries out the transaction's operation, sets kOutcome and calls again
  kGrow = 2,     // no entry is free: JavaScript makes room and calls again
  kDamaged = 3,  // a body or a table is not what it must be: a bug
};

template <typename T>
struct Array {
  T* data = nullptr;
  uint64_t count = 0;
};

struct Tables {
  double* control;
  Array<int32_t> entries;  // remembered, 16 words each
  Array<int32_t> heads;
  Array<int32_t> rounds;
  Array<double> floors;
  Array<double> balances;
  Array<int32_t> index;
  Array<int32_t> arena;
  Array<int32_t> dirty;
};

constexpr uint32_t kHeaderBytes = 48, kTransferBytes = 64, kFieldHeaderBytes = 5;
constexpr uint32_t kRecordHeadBytes = 12, kKeyAt = 3, kUnitBytes = 16;
constexpr int kPrefixRecord = 1, kPrefixAccount = 2, kPrefixFloor = 3;
constexpr uint32_t kEntryWords = 16;
enum Entry { kSenderLow = 8, kSenderHigh, kSequenceLow, kSequenceHigh, kNextInChain, kNextInRound, kEntryOutcome };
enum Kind { kTransfer = 1, kInsert, kUpdate, kDelete, kRecordKind };
enum Outcome {
  kOk, kDuplicate, kOverdraft, kSequenceUsed, kSequenceOld, kExpired, kNoSuchKey, kWindowFull, kBeyondWindow,
};
constexpr double kNobody = -1;

inline uint16_t load16(const uint8_t* at) { uint16_t value; std::memcpy(&value, at, 2); return value; }
inline uint32_t load32(const uint8_t* at) { uint32_t value; std::memcpy(&value, at, 4); return value; }
inline uint64_t load64(const uint8_t* at) { uint64_t value; std::memcpy(&value, at, 8); return value; }
inline uint64_t load48(const uint8_t* at) { return load32(at) | uint64_t{load16(at + 4)} << 32; }

// entry-hash.ts: FNV-1a-32 over prefix and key, then murmur3's fmix32.
inline uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6b;
  h ^= h >> 13;
  h *= 0xc2b2ae35;
  return h ^ h >> 16;
}
inline uint32_t hashBytes(int prefix, const uint8_t* key, uint32_t length) {
  uint32_t h = (0x811c9dc5u ^ prefix) * 0x01000193u;
  for (uint32_t i = 0; i < length; i++) h = (h ^ key[i]) * 0x01000193u;
  return mix(h);
}
inline uint32_t hashNumber(int prefix, uint64_t number) {
  uint8_t bytes[8];
  std::memcpy(bytes, &number, 8);
  return hashBytes(prefix, bytes, 8);
}

inline void touch(const Tables& t, uint32_t hash) {
  const uint32_t bucket = hash >> 16;
  t.dirty.data[bucket >> 5] |= int32_t(1u << (bucket & 31));
}

// remembered.ts: sixteen sequence numbers in a row share a cache line of heads.
inline uint32_t rememberedHome(const Tables& t, uint64_t sender, uint64_t sequence) {
  uint32_t h = (uint32_t(sender) ^ uint32_t(sender >> 32) * 0x85ebca6bu) * 0x9e3779b1u;
  h ^= h >> 15;
  h = (h ^ uint32_t(sequence) >> 4 ^ uint32_t(sequence >> 32) * 0x27d4eb2fu) * 0xc2b2ae35u;
  h ^= h >> 13;
  h *= 0x85ebca6bu;
  h ^= h >> 16;
  return ((h << 4) | (uint32_t(sequence) & 15)) & uint32_t(t.heads.count - 1);
}

inline int32_t* entryAt(const Tables& t, int64_t entry) {
  const bool isThere = entry > 0 && uint64_t(entry + 1) * kEntryWords <= t.entries.count;
  return isThere ? t.entries.data + kEntryWords * entry : nullptr;
}
inline uint64_t senderOf(const int32_t* entry) { return load64(reinterpret_cast<const uint8_t*>(entry + kSenderLow)); }
inline uint64_t sequenceOf(const int32_t* entry) { return load64(reinterpret_cast<const uint8_t*>(entry + kSequenceLow)); }

inline void linkEntry(const Tables& t, int64_t number, int32_t* entry) {
  int32_t* const head = t.heads.data + rememberedHome(t, senderOf(entry), sequenceOf(entry));
  entry[kNextInChain] = *head;
  *head = int32_t(number);
}

// number-table.ts: the value's place, or null.
inline double* findNumber(const Array<double>& slots, double shift, uint32_t hash, double key) {
  const uint64_t mask = slots.count - 1;
  uint64_t at = 2 * uint64_t{hash >> uint32_t(shift)};
  for (uint64_t tries = 0; tries < slots.count; tries += 2, at = (at + 2) & mask) {
    if (slots.data[at] == key) return slots.data + at + 1;
    if (slots.data[at] == -1) return nullptr;
  }
  return nullptr;
}

// Forgets what was last valid in control's round and raises the floors of its senders. kOperate: the
// sender in kTransactionSender has no floor yet; JavaScript makes one and calls again.
inline Turn forgetRound(const Tables& t) {
  double* const c = t.control;
  int32_t* const list = t.rounds.data + uint64_t(c[kRound]) % t.rounds.count;
  double sender = kNobody;
  uint32_t hash = 0;
  double* floor = nullptr;
  for (int64_t number = *list; number != 0;) {
    int32_t* const entry = entryAt(t, number);
    if (entry == nullptr) return kDamaged;
    const int64_t next = entry[kNextInRound];
    if (next != 0 && entryAt(t, next) != nullptr) __builtin_prefetch(entryAt(t, next), 1);
    const uint64_t owner = senderOf(entry), sequence = sequenceOf(entry);
    if (double(owner) != sender) {
      sender = double(owner);
      hash = hashNumber(kPrefixFloor, owner);
      floor = findNumber(t.floors, c[kFloorShift], hash, sender);
    }
    if (floor == nullptr) {
      *list = int32_t(number);
      c[kTransactionSender] = sender;
      c[kKeyHash] = double(int32_t(hash));
      return kOperate;
    }
    if (double(sequence) > *floor) {
      *floor = double(sequence);
      touch(t, hash);
    }
    int32_t* link = t.heads.data + rememberedHome(t, owner, sequence);
    while (*link != number) {
      int32_t* const other = entryAt(t, *link);
      if (other == nullptr) return kDamaged;
      link = other + kNextInChain;
    }
    *link = entry[kNextInChain];
    entry[kNextInRound] = int32_t(c[kFree]);
    c[kFree] = double(number);
    c[kRemembered]--;
    number = next;
  }
  *list = 0;
  return kAllDone;
}

}  // namespace baash
