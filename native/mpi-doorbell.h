// A word of memory by which the processes of a host wake each other's MPI threads. MPI has no "wake me",
// so whoever waits has to poll; ranks that outnumber cores then poll each other's time away. Here the
// receiver sleeps on a futex in a page of its own, and who has sent it something wakes it.
//
// A hint and nothing more: whoever is not rung still looks, only later. The page is a memfd, which the
// others open through /proc: nothing is left behind by a process that is killed. Across hosts, or where
// /proc is closed, nobody rings.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <new>
#include <random>
#include <string>

namespace baash {

// Where a process is, and how to ring it.
struct Address {
  uint64_t hostHash;
  uint64_t file;    // process id in the upper half, file descriptor in the lower; 0: cannot be rung
  uint64_t chance;  // what the page must say, since numbers of processes may mean another one here
};
constexpr int ADDRESS_WORDS = sizeof(Address) / sizeof(uint64_t);

class Doorbell {
 public:
  // One of this process; where the system has no memfd only its own threads can ring it.
  static Doorbell* make(Address& address) {
    const int file = static_cast<int>(syscall(SYS_memfd_create, NAME, 1u /* MFD_CLOEXEC */));
    void* memory = MAP_FAILED;
    if (file >= 0 && ftruncate(file, PAGE_BYTES) == 0) {
      memory = mmap(nullptr, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    if (memory == MAP_FAILED) {
      if (file >= 0) close(file);
      return new Doorbell();
    }
    std::random_device chance;
    address.chance = uint64_t{chance()} << 32 | chance();
    address.file = static_cast<uint64_t>(getpid()) << 32 | static_cast<uint32_t>(file);
    Doorbell* const bell = new (memory) Doorbell();
    bell->chance_ = address.chance;
    return bell;
  }

  // That of another process of this host; nullptr when it cannot be reached. Never unmapped: its owner
  // may die, the page lives on.
  static Doorbell* find(const Address& address) {
    if (address.file == 0) return nullptr;
    const std::string path = "/proc/" + std::to_string(address.file >> 32) + "/fd/" +
                             std::to_string(address.file & 0xffffffff);
    // What the descriptor is before it is opened: opening a device or a pipe can have effects.
    char target[64] = {};
    if (readlink(path.c_str(), target, sizeof target - 1) < 0) return nullptr;
    if (std::string(target).find(NAME) == std::string::npos) return nullptr;
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) return nullptr;
    struct stat facts {};
    void* memory = MAP_FAILED;
    if (fstat(file, &facts) == 0 && facts.st_size == PAGE_BYTES) {
      memory = mmap(nullptr, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    close(file);
    if (memory == MAP_FAILED) return nullptr;
    auto* const bell = static_cast<Doorbell*>(memory);
    if (bell->chance_ != address.chance) {
      munmap(memory, PAGE_BYTES);
      return nullptr;
    }
    bell->ringers_.fetch_add(1);
    return bell;
  }

  // Processes that can ring it.
  uint32_t ringers() const { return ringers_.load(std::memory_order_relaxed); }

  // To be asked before one looks whether there is something to do, and handed to `sleep` when there was
  // nothing: what came in between ends the sleep before it begins.
  uint32_t rings() const { return rings_.load(std::memory_order_acquire); }

  void ring() {
    // Sequentially consistent, as the two in `sleep`: one of both sides sees what the other did.
    rings_.fetch_add(1);
    if (sleeping_.load() != 0) futex(FUTEX_WAKE, INT_MAX, nullptr);
  }

  void sleep(uint32_t seen, double us) {
    const auto whole = static_cast<long>(us);
    const timespec limit{whole / 1'000'000, whole % 1'000'000 * 1000};
    sleeping_.store(1);
    if (rings_.load() == seen) futex(FUTEX_WAIT, seen, &limit);
    sleeping_.store(0, std::memory_order_relaxed);
  }

 private:
  Doorbell() = default;

  void futex(int operation, uint32_t value, const timespec* limit) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&rings_), operation, value, limit, nullptr, 0);
  }

  static constexpr const char* NAME = "baash-doorbell";
  static constexpr long PAGE_BYTES = 4096;

  uint64_t chance_ = 0;
  std::atomic<uint32_t> rings_{0}, sleeping_{0}, ringers_{0};
};
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex is one word");

}  // namespace baash
