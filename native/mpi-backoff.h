// How the MPI thread waits. Polling hot gives microsecond latency and burns a core; 16 ranks that do
// it on 2 cores starve each other. Who is rung by all others (mpi-doorbell.h) need not poll.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace baash {

using Clock = std::chrono::steady_clock;

inline double nowMs() {
  return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

class Backoff {
 public:
  // Hot polling pays only if nobody else wants the core: not when ranks outnumber cores, and not
  // when the launcher bound this whole process, JavaScript included, to a single core.
  void setUp(int ranksOnHost) {
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    int allowedCores = cores;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) allowedCores = CPU_COUNT(&allowed);
    hot_ = ranksOnHost <= cores && allowedCores >= 2;
    crowd_ = std::max(1.0, static_cast<double>(ranksOnHost) / cores);
  }

  void active() {
    idleSince_ = 0;
    sleepUs_ = SLEEP_FIRST_US;
  }

  // Returns how long to sleep in microseconds; 0 = poll again (after a yield if one was due).
  // `expecting`: a collective or a send is under way, so an answer is likely soon; or never, when
  // the others are dead: after a while nothing is expected any more. `rung`: whoever sends something
  // ends the sleep, so that it may be long when nothing is under way.
  double rest(bool expecting, bool rung) {
    const double now = nowMs();
    if (idleSince_ == 0) idleSince_ = now;
    const double idleMs = now - idleSince_;
    expecting = expecting && idleMs < EXPECT_MS;
    if (hot_ && idleMs < HOT_MS) return 0;
    if (idleMs < (expecting ? YIELD_EXPECTING_MS : YIELD_MS) / crowd_) {
      sched_yield();
      return 0;
    }
    if (rung && !expecting) return SLEEP_RUNG_US;
    const double sleep = sleepUs_;
    // What is expected comes through several hops of ranks that may all be sleeping: sleep less.
    const double idleMost = idleMs < REST_MS ? SLEEP_IDLE_US : SLEEP_REST_US;
    const double most = expecting ? SLEEP_EXPECTING_US * crowd_ : idleMost;
    sleepUs_ = std::min(sleepUs_ * 1.5, most);
    return sleep;
  }

 private:
  static constexpr double HOT_MS = 0.05;
  static constexpr double YIELD_MS = 0.1;
  static constexpr double YIELD_EXPECTING_MS = 1;
  static constexpr double EXPECT_MS = 1000;
  static constexpr double SLEEP_FIRST_US = 20;
  static constexpr double SLEEP_EXPECTING_US = 100;
  static constexpr double SLEEP_IDLE_US = 500;
  // A wake costs 25 to 40 us of CPU (measured, virtual machine): 500 us are 3 to 6 % of a core for
  // ever. A job that has been quiet for REST_MS pays half a millisecond more on its first message.
  static constexpr double REST_MS = 20;
  static constexpr double SLEEP_REST_US = 1500;
  // What a ring that came too early, or none at all, may cost.
  static constexpr double SLEEP_RUNG_US = 10'000;
  // Ranks for each core of this host, 1 at least: so much more each has to leave to the others.
  double crowd_ = 1;
  bool hot_ = false;
  double idleSince_ = 0;
  double sleepUs_ = SLEEP_FIRST_US;
};

}  // namespace baash
