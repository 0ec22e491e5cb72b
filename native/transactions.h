// What is to be judged of every transaction before it is queued or executed: its structure, by its bytes
// and the chain alone (src/ledger/transaction-check.ts), and whether it was executed already.
#pragma once

#include "state-tables.h"

namespace baash {

constexpr uint32_t kTransactionBytesMax = 256 * 1024, kBlockTransactionsMax = 16'384;
constexpr uint32_t kKeyBytesMax = 255, kFieldsMax = 1024, kChainIdBytes = 16;
enum Verdict : uint8_t {
  kGood = 0, kTruncated = 1, kTooLarge = 2, kTrailingBytes = 3, kBadNumber = 6, kUnknownKind = 7,
  kBadKey = 8, kBadFields = 9, kWrongChain = 10, kWrongCount = 16,
};

inline bool isWide(uint64_t number) { return number >> 53 != 0; }

inline Verdict checkFields(const uint8_t* txn, uint32_t length) {
  if (txn[1] == 0) return kBadKey;
  const uint32_t fields = load16(txn + 2);
  if (fields == 0 || fields > kFieldsMax) return kBadFields;
  uint64_t at = kHeaderBytes + txn[1];
  for (uint32_t i = 0; i < fields; i++) {
    if (at + kFieldHeaderBytes > length) return kTruncated;
    if (txn[at] == 0) return kBadFields;
    at += uint64_t{kFieldHeaderBytes} + txn[at] + load32(txn + at + 1);
    if (at > length) return kTruncated;
  }
  return at == length ? kGood : kTrailingBytes;
}

inline Verdict checkTransfer(const uint8_t* txn, uint32_t length) {
  if (txn[1] != 0) return kBadKey;
  if (load16(txn + 2) != 0) return kBadFields;
  if (length != kTransferBytes) return length < kTransferBytes ? kTruncated : kTrailingBytes;
  const uint64_t amount = load64(txn + 56);
  return isWide(load64(txn + 48)) || isWide(amount) || amount == 0 ? kBadNumber : kGood;
}

// Reads nothing beyond `length` bytes.
inline Verdict checkTransaction(const uint8_t* txn, uint32_t length, const uint8_t* chainId) {
  if (length > kTransactionBytesMax) return kTooLarge;
  if (length < kHeaderBytes) return kTruncated;
  if (std::memcmp(txn + 4, chainId, kChainIdBytes) != 0) return kWrongChain;
  if (isWide(load64(txn + 20)) || isWide(load64(txn + 28))) return kBadNumber;
  const uint32_t keyed = kHeaderBytes + txn[1];
  switch (txn[0]) {
    case kTransfer:
      return checkTransfer(txn, length);
    case kInsert:
    case kUpdate:
      return checkFields(txn, length);
    case kDelete:
      if (txn[1] == 0) return kBadKey;
      if (load16(txn + 2) != 0) return kBadFields;
      if (length == keyed) return kGood;
      return length < keyed ? kTruncated : kTrailingBytes;
    case kRecordKind:
      if (load16(txn + 2) != 0) return kBadFields;
      return length < keyed ? kTruncated : kGood;
    default:
      return kUnknownKind;
  }
}

// Finds `count` transactions in a body: offset and length of each. `room`: spans that there is room for.
inline Verdict scanBody(const uint8_t* bytes, uint64_t offset, uint64_t length, uint64_t count,
                        uint32_t* spans, uint64_t room) {
  // Bounds `count` by what can lie there, so that a lie costs nothing.
  if (count == 0 || count * (4 + kHeaderBytes) > length) return kWrongCount;
  if (count > kBlockTransactionsMax || count > room) return kTooLarge;
  uint64_t at = offset;
  const uint64_t end = offset + length;
  for (uint64_t i = 0; i < count; i++) {
    if (at + 4 > end) return kWrongCount;
    const uint32_t own = load32(bytes + at);
    at += 4;
    if (own > end - at) return kTruncated;
    spans[2 * i] = uint32_t(at);
    spans[2 * i + 1] = own;
    at += own;
  }
  return at == end ? kGood : kTrailingBytes;
}

// The first transaction from `from` on that something is remembered of, or `count`.
inline uint64_t firstRemembered(const Tables& t, const uint8_t* bytes, const uint32_t* spans,
                                uint64_t from, uint64_t count) {
  for (uint64_t i = from; i < count; i++) {
    const uint8_t* const txn = bytes + spans[2 * i];
    const uint64_t sender = load64(txn + 20), sequence = load64(txn + 28);
    for (int64_t number = t.heads.data[rememberedHome(t, sender, sequence)]; number != 0;) {
      const int32_t* const entry = entryAt(t, number);
      if (entry == nullptr) break;
      if (sequenceOf(entry) == sequence && senderOf(entry) == sender) return i;
      number = entry[kNextInChain];
    }
  }
  return count;
}

}  // namespace baash
