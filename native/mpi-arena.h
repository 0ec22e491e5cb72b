// The receive arena: the bytes of one Uint8Array of JavaScript's, handed out first-fit in grains of
// a cache line. First-fit and not a ring: a sender that dies in the middle of a message leaves its
// span taken for ever (MPI may still write there), and a ring could not go past it. First-fit also
// keeps using the lowest, warm bytes, so pages that are never needed are never touched.
// Taken by the MPI thread, given back by the JavaScript thread: one mutex.
#pragma once

#include <cstddef>
#include <iterator>
#include <map>
#include <mutex>

namespace baash {

class Arena {
 public:
  static constexpr size_t GRAIN = 64;

  void reset(size_t bytes) {
    free_.clear();
    bytes_ = bytes / GRAIN * GRAIN;
    if (bytes_ > 0) free_[0] = bytes_;
    used_ = 0;
  }

  bool take(size_t length, size_t& offset) {
    const size_t size = rounded(length);
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto span = free_.begin(); span != free_.end(); ++span) {
      if (span->second < size) continue;
      offset = span->first;
      const size_t rest = span->second - size;
      auto hint = free_.erase(span);
      if (rest > 0) free_.emplace_hint(hint, offset + size, rest);
      used_ += size;
      return true;
    }
    return false;
  }

  // Gives back spans {offset, length} of any order.
  template <typename Spans>
  void giveAll(const Spans& spans) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& span : spans) give(span.offset, span.length);
  }

  // Gives back the end of a span of which only `length` bytes of `reserved` are needed.
  void shrink(size_t offset, size_t reserved, size_t length) {
    const size_t kept = rounded(length), size = rounded(reserved);
    if (kept == size) return;
    std::lock_guard<std::mutex> lock(mutex_);
    give(offset + kept, size - kept);
  }

  size_t used() {
    std::lock_guard<std::mutex> lock(mutex_);
    return used_;
  }

 private:
  // A message without bytes takes a grain too: so live messages are bounded by the arena as well.
  static size_t rounded(size_t length) {
    return length == 0 ? GRAIN : (length + GRAIN - 1) / GRAIN * GRAIN;
  }

  void give(size_t offset, size_t length) {
    size_t size = rounded(length);
    used_ -= size;
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + size == next->first) {
      size += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += size;
        return;
      }
    }
    free_.emplace_hint(next, offset, size);
  }

  std::mutex mutex_;
  std::map<size_t, size_t> free_;  // offset -> bytes
  size_t bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace baash
