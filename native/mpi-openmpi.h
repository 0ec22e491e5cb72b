// What Open MPI 4.1 needs beyond the standard when processes die. With another library each of
// these does nothing.
#pragma once

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

#include <chrono>
#include <mutex>

#include "mpi-backoff.h"
#include "mpi-operation.h"

namespace baash {

inline bool isOpenMpi() {
#ifdef OPEN_MPI
  return true;
#else
  return false;
#endif
}

// Before MPI_Init. A spawn exchanges data through mpirun, in part on whatever thread happens to
// make progress; when the other side dies there it waits 600 s by default.
inline void prepareOpenMpi() {
  if (isOpenMpi()) setenv("OMPI_MCA_pmix_base_exchange_timeout", "15", 0);
}

// Open MPI numbers communicators in an order: one whose parent has a higher number (or a higher
// tag) waits until the lower one has got its number. One that hangs for good therefore blocks all
// later ones for good (ompi/communicator/comm_cid.c, ompi_comm_cid_lowest_id). Numbering one below
// it opens the way again; a duplicate of MPI_COMM_SELF, which needs nobody else, is below all that
// are made here.
inline void unblockNumbering() {
  if (!isOpenMpi()) return;
  static std::timed_mutex oneAtATime;
  std::unique_lock<std::timed_mutex> lock(oneAtATime, std::chrono::seconds(1));
  if (!lock.owns_lock()) return;
  MPI_Comm self = MPI_COMM_NULL;
  CHECK(MPI_Comm_dup(MPI_COMM_SELF, &self));
  CHECK(MPI_Comm_free(&self));
}

// The operation that this thread waits for; nullptr on all threads but helpers.
inline thread_local const Operation* helping = nullptr;

// A blocking call of MPI polls without rest, also when it waits for the dead, for ever. So helper
// threads pause in this callback of Open MPI's progress loop, where no lock is held: not at all at
// first, when an answer is likely; a little after that; and once nobody waits for them any longer
// they all but sleep.
inline int pauseHelper() {
  if (helping == nullptr) return 0;
  constexpr double EAGER_MS = 300;
  long pauseUs = 0;
  if (helping->answered.load(std::memory_order_relaxed)) {
    pauseUs = 50'000;
  } else if (nowMs() - helping->startedMs > EAGER_MS) {
    pauseUs = 200;
  }
  if (pauseUs > 0) {
    const timespec pause{0, pauseUs * 1000};
    nanosleep(&pause, nullptr);
  }
  return 0;
}

// After MPI_Init. The function is no part of MPI, so it is looked up in the library that is there.
inline void registerPause() {
  if (!isOpenMpi()) return;
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&MPI_Init_thread), &info) == 0) return;
  void* library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return;
  using Register = int (*)(int (*)());
  auto registerCallback = reinterpret_cast<Register>(dlsym(library, "opal_progress_register"));
  if (registerCallback != nullptr) registerCallback(pauseHelper);
}

}  // namespace baash
