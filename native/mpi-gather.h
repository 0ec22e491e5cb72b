// An all-gather of equal parts in ceil(log2 N) messages a rank (Bruck et al., IEEE TPDS 8(11), 1997): in
// step k a rank sends what it has to the one 2^k places before it and receives as much from the one 2^k
// places after. Open MPI's own non-blocking one (4.1, libnbc) sends N - 1 messages.
//
// Messages of one call carry a tag of its own, on a lane's communicator, which nobody probes. Whoever
// has all parts knows that every member has begun this call, as with any all-gather.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include "mpi-error.h"

namespace baash {

class Gather {
 public:
  // `onSent` is told the rank of each message's receiver.
  Gather(MPI_Comm communicator, int tag, const uint8_t* send, uint8_t* receive, int bytes,
         std::function<void(int)> onSent)
      : communicator_(communicator), tag_(tag), receive_(receive), bytes_(bytes),
        onSent_(std::move(onSent)) {
    CHECK(MPI_Comm_rank(communicator, &rank_));
    CHECK(MPI_Comm_size(communicator, &ranks_));
    parts_.resize(static_cast<size_t>(ranks_) * bytes);
    std::memcpy(parts_.data(), send, bytes);
    if (ranks_ > 1) step();
  }
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;

  // Goes on as far as it can. True once all parts are where the caller wants them.
  bool advance() {
    while (held_ < ranks_) {
      int done = 0;
      CHECK(MPI_Testall(2, requests_, &done, MPI_STATUSES_IGNORE));
      if (!done) return false;
      held_ += coming_;
      if (held_ < ranks_) step();
    }
    // Part i is that of the rank i places on.
    const size_t before = static_cast<size_t>(rank_) * bytes_;
    const size_t after = parts_.size() - before;
    std::memcpy(receive_ + before, parts_.data(), after);
    std::memcpy(receive_, parts_.data() + after, before);
    return true;
  }

  // The largest message is half of all; MPI counts it with an int.
  static bool fits(int ranks, int bytes) {
    return static_cast<int64_t>(ranks) * bytes <= 0x7fffffff;
  }

 private:
  void step() {
    coming_ = std::min(held_, ranks_ - held_);
    const int count = coming_ * bytes_;
    const int to = (rank_ - held_ + ranks_) % ranks_, from = (rank_ + held_) % ranks_;
    uint8_t* into = parts_.data() + static_cast<size_t>(held_) * bytes_;
    CHECK(MPI_Irecv(into, count, MPI_BYTE, from, tag_, communicator_, &requests_[0]));
    CHECK(MPI_Isend(parts_.data(), count, MPI_BYTE, to, tag_, communicator_, &requests_[1]));
    onSent_(to);
  }

  MPI_Comm communicator_;
  int tag_;
  uint8_t* receive_;
  int bytes_;
  std::function<void(int)> onSent_;
  int rank_ = 0, ranks_ = 1;
  int held_ = 1, coming_ = 0;
  MPI_Request requests_[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
  std::vector<uint8_t> parts_;
};

}  // namespace baash
