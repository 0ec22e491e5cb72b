// Execution of transactions on the tables of a state: duplicates, floors, records that change in place,
// transfers between accounts that exist. What changes the shape of a table is left to JavaScript.
// Looking ahead, the lines that a transaction will need are on their way before its turn: what
// execution costs is cache misses. One thread at a time.
#pragma once

#include "state-tables.h"

namespace baash {

class Execution {
 public:
  Execution(const Tables& tables, const uint8_t* bytes, const uint8_t* ids, const uint32_t* blocks,
            uint32_t blockCount, uint8_t* outcomes, uint8_t* effects)
      : t_(tables), c_(tables.control), bytes_(bytes), ids_(ids), blocks_(blocks),
        blockCount_(blockCount), outcomes_(outcomes), effects_(effects) {}

  Turn run() {
    scanBlock_ = uint32_t(c_[kBlock]);
    scanIndex_ = uint32_t(c_[kIndex]);
    scanAt_ = uint32_t(c_[kAt]);
    while (true) {
      // Little at first: what was looked at ahead is looked at again after JavaScript's turn.
      const uint64_t ahead = std::min<uint64_t>(kAhead, 2 + 2 * done_);
      while (scanned_ - done_ < ahead && scanBlock_ < blockCount_)
        if (!scan()) return kDamaged;
      if (done_ == scanned_) break;
      while (probed_ < scanned_ && probed_ - done_ < kAhead / 2) probe(ring_[probed_++ % kAhead]);
      while (reached_ < probed_ && reached_ - done_ < kAhead / 4) reach(ring_[reached_++ % kAhead]);
      const Turn turn = take(ring_[done_ % kAhead]);
      if (turn != kAllDone) return turn;
      done_++;
    }
    c_[kBlock] = blockCount_;
    return kAllDone;
  }

 private:
  static constexpr uint32_t kAhead = 32;
  struct Transaction {
    uint32_t block, index, at, length, keyHash, home, unit;
  };

  // Finds the next transaction and its hashes, and asks for the lines that these lead to.
  bool scan() {
    const uint32_t* const block = blocks_ + 4 * scanBlock_;
    const uint32_t end = block[0] + block[1];
    if (scanIndex_ == block[2]) {
      if (scanAt_ != end) return false;
      if (++scanBlock_ < blockCount_) scanAt_ = blocks_[4 * scanBlock_];
      scanIndex_ = 0;
      return true;
    }
    if (end - scanAt_ < 4 + kHeaderBytes) return false;
    const uint32_t length = load32(bytes_ + scanAt_);
    if (length < kHeaderBytes || length > end - scanAt_ - 4) return false;
    const uint8_t* const txn = bytes_ + scanAt_ + 4;
    const int kind = txn[0];
    if (kind == kTransfer ? length < kTransferBytes : kHeaderBytes + txn[1] > length) return false;
    Transaction& next = ring_[scanned_++ % kAhead];
    next = {scanBlock_, scanIndex_, scanAt_ + 4, length, 0, rememberedHome(t_, load64(txn + 20), load64(txn + 28)), 0};
    __builtin_prefetch(t_.heads.data + next.home, 1);
    if (kind >= kInsert && kind <= kDelete) {
      next.keyHash = hashBytes(kPrefixRecord, txn + kHeaderBytes, txn[1]);
      __builtin_prefetch(t_.index.data + indexHome(next.keyHash));
    }
    scanIndex_++;
    scanAt_ += 4 + length;
    return true;
  }

  // By now the index has come: what it names is asked for.
  void probe(Transaction& next) {
    const int32_t head = t_.heads.data[next.home];
    if (head != 0) __builtin_prefetch(t_.entries.data + kEntryWords * uint64_t(head));
    const int kind = bytes_[next.at];
    if (kind != kInsert && kind != kUpdate) return;
    const uint64_t unit = unitOf(next, false);
    const uint64_t word = 4 * unit;
    if (unit == 0 || word >= t_.arena.count) return;
    next.unit = uint32_t(unit);
    for (uint32_t line = 0; line < 3; line++) __builtin_prefetch(t_.arena.data + word + 16 * line, 1);
  }

  // And the field of a long record that an update begins with, where the last of its name was.
  void reach(const Transaction& next) {
    if (next.unit == 0 || bytes_[next.at] != kUpdate) return;
    const uint64_t field = uint64_t{kHeaderBytes} + bytes_[next.at + 1];
    if (field + kFieldHeaderBytes + 1 > next.length) return;
    const uint32_t number = guessOf(bytes_ + next.at + field);
    const uint64_t word = 4 * uint64_t{next.unit};
    if (word + 3 + number >= t_.arena.count || number >= uint32_t(t_.arena.data[word + 1])) return;
    const uint64_t at = kUnitBytes * uint64_t{next.unit} + uint32_t(t_.arena.data[word + 3 + number]);
    if (at + 128 >= 4 * t_.arena.count) return;
    for (uint32_t line = 0; line < 3; line++) __builtin_prefetch(arenaBytes() + at + 64 * line, 1);
  }

  // Field number at which a field of such a name was found last. Only a guess, by two bytes of the name.
  static uint16_t& guessOf(const uint8_t* field) {
    static thread_local uint16_t guesses[256] = {};
    const uint32_t nameBytes = field[0];
    return guesses[(field[kFieldHeaderBytes - 1 + nameBytes] + 7 * nameBytes) & 255];
  }

  uint64_t indexHome(uint32_t hash) const { return 2 * uint64_t{hash >> uint32_t(c_[kIndexShift])}; }

  // Unit of the record under the transaction's key, or 0; unless `compares`, of one with its hash.
  uint64_t unitOf(const Transaction& txn, bool compares) const {
    const uint64_t mask = t_.index.count - 1;
    uint64_t at = indexHome(txn.keyHash);
    for (uint64_t tries = 0; tries < t_.index.count; tries += 2, at = (at + 2) & mask) {
      const uint32_t unit = uint32_t(t_.index.data[at + 1]);
      if (unit == 0) return 0;
      if (uint32_t(t_.index.data[at]) == txn.keyHash && (!compares || hasKey(unit, txn))) return unit;
    }
    return 0;
  }

  const uint8_t* arenaBytes() const { return reinterpret_cast<const uint8_t*>(t_.arena.data); }

  bool hasKey(uint64_t unit, const Transaction& txn) const {
    const uint32_t keyBytes = bytes_[txn.at + 1];
    if (4 * unit + 3 > t_.arena.count) return false;
    const uint64_t at = kUnitBytes * unit + kRecordHeadBytes + 4 * uint64_t(uint32_t(t_.arena.data[4 * unit + 1]));
    if (at + kKeyAt + keyBytes > 4 * t_.arena.count) return false;
    return load16(arenaBytes() + at) == keyBytes + 1 &&
           std::memcmp(arenaBytes() + at + kKeyAt, bytes_ + txn.at + kHeaderBytes, keyBytes) == 0;
  }

  Turn stop(Turn turn, const Transaction& txn) {
    c_[kBlock] = txn.block;
    c_[kIndex] = txn.index;
    c_[kAt] = txn.at - 4;
    return turn;
  }

  Turn take(const Transaction& next) {
    const uint8_t* const txn = bytes_ + next.at;
    const double round = c_[kRound];
    const double lastValidRound = double(load48(txn + 36));
    if (c_[kOutcome] >= 0) {
      const int outcome = int(c_[kOutcome]);
      c_[kOutcome] = -1;
      return remember(next, lastValidRound, outcome);
    }
    const double validityMax = double(t_.rounds.count - 1);
    if (round > lastValidRound) return tell(next, kExpired);
    if (lastValidRound > round + validityMax) return tell(next, kBeyondWindow);
    const uint64_t sender = load64(txn + 20), sequence = load64(txn + 28);
    for (int64_t number = t_.heads.data[next.home]; number != 0;) {
      const int32_t* const entry = entryAt(t_, number);
      if (entry == nullptr) return kDamaged;
      if (sequenceOf(entry) == sequence && senderOf(entry) == sender) {
        const bool isSame = std::memcmp(entry, idOf(next), 32) == 0;
        return tell(next, isSame ? kDuplicate : kSequenceUsed);
      }
      number = entry[kNextInChain];
    }
    if (double(sender) != c_[kSender]) {
      const double* const floor =
          findNumber(t_.floors, c_[kFloorShift], hashNumber(kPrefixFloor, sender), double(sender));
      c_[kSender] = double(sender);
      c_[kFloor] = floor == nullptr ? -1 : *floor;
    }
    if (double(sequence) <= c_[kFloor]) return tell(next, kSequenceOld);
    if (c_[kRemembered] == c_[kRememberedMax]) return tell(next, kWindowFull);
    if (c_[kFree] == 0 && c_[kEnd] == c_[kCapacity]) return stop(kGrow, next);
    const int outcome = operate(next, sender);
    if (outcome < 0) {
      c_[kTransaction] = next.at;
      c_[kTransactionSender] = double(sender);
      c_[kKeyHash] = double(int32_t(next.keyHash));
      return stop(kOperate, next);
    }
    return remember(next, lastValidRound, outcome);
  }

  const uint8_t* idOf(const Transaction& txn) const {
    return ids_ + blocks_[4 * txn.block + 3] + 32 * uint64_t{txn.index};
  }

  Turn tell(const Transaction& txn, int outcome) {
    const uint64_t place = uint64_t(c_[kDone]);
    outcomes_[place] = uint8_t(outcome);
    effects_[place + 32 * (uint64_t{txn.block} + 1)] = uint8_t(outcome);
    c_[kCounts + outcome]++;
    c_[kDone] = double(place + 1);
    return kAllDone;
  }

  Turn remember(const Transaction& next, double lastValidRound, int outcome) {
    int64_t number = int64_t(c_[kFree]);
    int32_t* entry;
    if (number == 0) {
      number = int64_t(c_[kEnd]);
      entry = entryAt(t_, number);
      c_[kEnd] = double(number + 1);
    } else {
      entry = entryAt(t_, number);
      if (entry != nullptr) c_[kFree] = entry[kNextInRound];
    }
    if (entry == nullptr) return kDamaged;
    const uint8_t* const txn = bytes_ + next.at;
    std::memcpy(entry, idOf(next), 32);
    std::memcpy(entry + kSenderLow, txn + 20, 16);
    entry[kEntryOutcome] = outcome;
    int32_t* const head = t_.heads.data + next.home;
    entry[kNextInChain] = *head;
    *head = int32_t(number);
    int32_t* const round = t_.rounds.data + uint64_t(lastValidRound) % t_.rounds.count;
    entry[kNextInRound] = *round;
    *round = int32_t(number);
    c_[kRemembered]++;
    return tell(next, outcome);
  }

  // The outcome, or -1 when this is not for us to do.
  int operate(const Transaction& next, uint64_t sender) {
    const uint8_t* const txn = bytes_ + next.at;
    const int kind = txn[0];
    if (kind == kRecordKind) return kOk;
    if (kind == kTransfer) return transfer(txn, sender);
    const uint64_t unit = unitOf(next, true);
    if (unit == 0) return kind == kInsert ? -1 : kNoSuchKey;
    if (kind == kDelete || !overwrite(next, unit, kind == kInsert)) return -1;
    touch(t_, next.keyHash);
    return kOk;
  }

  // Copies the values where each field has the length that it had. Of an insert (`whole`) the fields
  // are those of the record, in order; else nothing is changed and the answer is false.
  bool overwrite(const Transaction& next, uint64_t unit, bool whole) {
    constexpr uint32_t kFieldsMax = 64;
    uint64_t from[kFieldsMax], to[kFieldsMax];
    uint32_t lengths[kFieldsMax];
    const uint8_t* const txn = bytes_ + next.at;
    const uint32_t count = load16(txn + 2);
    const uint32_t own = uint32_t(t_.arena.data[4 * unit + 1]);
    if (count > kFieldsMax || (whole && count != own)) return false;
    if (4 * unit + 3 + own > t_.arena.count) return false;
    uint64_t at = kHeaderBytes + txn[1];
    for (uint32_t i = 0; i < count; i++) {
      if (at + kFieldHeaderBytes > next.length) return false;
      const uint8_t* const field = txn + at;
      const uint64_t length = load32(field + 1);
      at += kFieldHeaderBytes + field[0] + length;
      if (at > next.length) return false;
      const int64_t place = whole ? placeOf(unit, i, field) : search(unit, own, field);
      if (place < 0) return false;
      const uint64_t value = uint64_t(place) + 5 + field[0];
      if (load32(arenaBytes() + value - 4) != length || value + length > 4 * t_.arena.count) return false;
      from[i] = next.at + at - length;
      to[i] = value;
      lengths[i] = uint32_t(length);
    }
    uint8_t* const arena = reinterpret_cast<uint8_t*>(t_.arena.data);
    for (uint32_t i = 0; i < count; i++) std::memcpy(arena + to[i], bytes_ + from[i], lengths[i]);
    return true;
  }

  // Order of the name of field `number` of the record and that of a transaction's field; its place.
  int compareName(uint64_t unit, uint32_t number, const uint8_t* field, int64_t* place) const {
    const uint64_t at = kUnitBytes * unit + uint32_t(t_.arena.data[4 * unit + 3 + number]);
    *place = -1;
    if (at + 5 + 255 > 4 * t_.arena.count && at + 5 + arenaBytes()[at] > 4 * t_.arena.count) return -1;
    const uint8_t* const own = arenaBytes() + at;
    const int order = std::memcmp(own + 1, field + kFieldHeaderBytes, std::min(own[0], field[0]));
    if (order != 0) return order;
    if (own[0] == field[0]) *place = int64_t(at);
    return int(own[0]) - int(field[0]);
  }

  int64_t placeOf(uint64_t unit, uint32_t number, const uint8_t* field) const {
    int64_t place;
    compareName(unit, number, field, &place);
    return place;
  }

  int64_t search(uint64_t unit, uint32_t fields, const uint8_t* field) const {
    uint16_t& guess = guessOf(field);
    int64_t place = -1;
    if (guess < fields) compareName(unit, guess, field, &place);
    if (place >= 0) return place;
    uint32_t low = 0, high = fields;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      const int order = compareName(unit, middle, field, &place);
      if (place >= 0) {
        guess = uint16_t(middle);
        return place;
      }
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  int transfer(const uint8_t* txn, uint64_t sender) {
    const uint64_t receiver = load64(txn + 48);
    const double amount = double(load64(txn + 56));
    const uint32_t fromHash = hashNumber(kPrefixAccount, sender);
    double* const from = findNumber(t_.balances, c_[kBalanceShift], fromHash, double(sender));
    if ((from == nullptr ? 0 : *from) < amount) return kOverdraft;
    if (sender == receiver) return kOk;
    const uint32_t toHash = hashNumber(kPrefixAccount, receiver);
    double* const to = findNumber(t_.balances, c_[kBalanceShift], toHash, double(receiver));
    if (to == nullptr || from == nullptr) return -1;
    *from -= amount;
    if (*from == 0) c_[kAccounts]--;
    if (*to == 0) c_[kAccounts]++;
    *to += amount;
    touch(t_, fromHash);
    touch(t_, toHash);
    return kOk;
  }

  const Tables& t_;
  double* const c_;
  const uint8_t* const bytes_;
  const uint8_t* const ids_;
  const uint32_t* const blocks_;
  const uint32_t blockCount_;
  uint8_t* const outcomes_;
  uint8_t* const effects_;
  Transaction ring_[kAhead];
  uint64_t scanned_ = 0, probed_ = 0, reached_ = 0, done_ = 0;
  uint32_t scanBlock_ = 0, scanIndex_ = 0, scanAt_ = 0;
};

}  // namespace baash
