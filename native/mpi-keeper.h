// A second process that outlives this one, to make its death harmless to the others.
//
// Open MPI 4.1 talks over TCP to other hosts, and to spawned processes on the same host too. When
// the kernel of a dead process closes its sockets, each survivor that had anything queued for it,
// or sends to it later, ends itself (ob1's completion callbacks call ompi_rte_abort when the TCP
// transport says "unreachable") or hangs in a lock that it holds itself (btl/tcp calls back with
// its lock held). So one death took others with it, most surely under load. With the sockets held
// open the dead are merely silent, as they are over shared memory: what is sent to them fills a
// buffer and then waits.
//
// And the launcher (PMIx 4.2) must see the end of a process's connection before it counts the
// process as ended, which takes the end of its pipes too: in the other order it closes the
// connection's descriptor but leaves it registered with epoll, and the next process that is spawned
// and gets this number is never heard. (Seen as "one spawn in forty hangs".) So the pipes end last.
//
// The keeper shares the table of file descriptors with its process (CLONE_FILES), so it needs no
// telling of new sockets, and nothing else: it gives back all memory but the addon's code and its
// own stack. Hence it must not call anything, not even libc: raw system calls only. When its
// process has died it hangs up on the launcher and waits until that has hung up too, closes all but
// the TCP sockets to other than loopback addresses, and ends with the launcher. It leaves the
// process group and the session, so that it outlives a signal to either.
#pragma once

#include <errno.h>
#include <link.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace baash {

#if defined(__x86_64__)
#define BAASH_HAS_KEEPER 1
__attribute__((always_inline)) inline long rawCall(long number, long a = 0, long b = 0, long c = 0,
                                                   long d = 0, long e = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
#define BAASH_HAS_KEEPER 1
__attribute__((always_inline)) inline long rawCall(long number, long a = 0, long b = 0, long c = 0,
                                                   long d = 0, long e = 0) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
#endif

#ifdef BAASH_HAS_KEEPER

// The C library registers an area with the kernel, which writes to it whenever a thread goes on: it
// has to be given up before its memory is. (glibc 2.35 and later; absent else.)
extern "C" {
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
}
#if defined(__x86_64__)
constexpr long RSEQ_SIGNATURE = 0x53053053;
#else
constexpr long RSEQ_SIGNATURE = 0xd428bc00;
#endif
constexpr long RSEQ_AREA_BYTES = 32, RSEQ_UNREGISTER = 1;

struct Keeper {
  long process, launcher;
  long rseqArea;  // 0: there is none
  int launcherDescriptor;  // readable when the launcher has ended; -1: unknown to this kernel
  uintptr_t codeStart, codeEnd, stackStart, stackEnd;
};

constexpr size_t KEEPER_STACK_BYTES = 64 * 1024;
constexpr uintptr_t ADDRESS_MIN = 0x10000, ADDRESS_MAX = 0x7ffffffff000;
constexpr int DESCRIPTORS_LOOKED_AT = 65536;

constexpr int HANG_UPS_MAX = 16, HANG_UP_MS = 5000;

enum class Opened { None, NoSocket, TcpOutside, TcpLoopback, OtherSocket };

__attribute__((always_inline)) inline Opened kindOf(long descriptor) {
  int domain = 0;
  unsigned length = sizeof domain;
  const long failed = rawCall(SYS_getsockopt, descriptor, SOL_SOCKET, SO_DOMAIN,
                              reinterpret_cast<long>(&domain), reinterpret_cast<long>(&length));
  if (failed != 0) return failed == -EBADF ? Opened::None : Opened::NoSocket;
  if (domain != AF_INET && domain != AF_INET6) return Opened::OtherSocket;
  sockaddr_in6 address;
  length = sizeof address;
  if (rawCall(SYS_getsockname, descriptor, reinterpret_cast<long>(&address),
              reinterpret_cast<long>(&length)) != 0) {
    return Opened::OtherSocket;
  }
  const auto* bytes = reinterpret_cast<const volatile uint8_t*>(&address);
  const auto* words = reinterpret_cast<const volatile uint32_t*>(bytes + 8);
  const bool loopback =
      domain == AF_INET
          ? bytes[4] == 127
          : words[0] == 0 && words[1] == 0 && words[2] == 0 && words[3] == htonl(1);
  return loopback ? Opened::TcpLoopback : Opened::TcpOutside;
}

// Ends the connections to the launcher, and waits until it has seen that. Local sockets of others
// (clients) end at once.
__attribute__((always_inline)) inline void hangUp() {
  pollfd watched[HANG_UPS_MAX];
  int count = 0;
  for (int descriptor = 0; descriptor < DESCRIPTORS_LOOKED_AT; descriptor++) {
    const Opened kind = kindOf(descriptor);
    if (kind == Opened::OtherSocket) rawCall(SYS_close, descriptor);
    if (kind != Opened::TcpLoopback || count == HANG_UPS_MAX) continue;
    // Fails for one that listens, which has nobody at its other end.
    if (rawCall(SYS_shutdown, descriptor, SHUT_WR) != 0) continue;
    watched[count].fd = descriptor;
    watched[count].events = POLLRDHUP;
    count++;
  }
  const timespec most{HANG_UP_MS / 1000, 0};
  while (count > 0 && rawCall(SYS_ppoll, reinterpret_cast<long>(watched), count,
                              reinterpret_cast<long>(&most)) > 0) {
    for (int i = 0; i < count;) {
      if (watched[i].revents == 0) {
        i++;
      } else {
        watched[i].fd = watched[count - 1].fd;
        watched[i].revents = watched[count - 1].revents;
        count--;
      }
    }
  }
}

// The keeper's whole life.
__attribute__((noinline, no_stack_protector)) inline int keep(void* argument) {
  const Keeper keeper = *static_cast<const Keeper*>(argument);
  const bool codeFirst = keeper.codeStart < keeper.stackStart;
  const uintptr_t low = codeFirst ? keeper.codeStart : keeper.stackStart;
  const uintptr_t lowEnd = codeFirst ? keeper.codeEnd : keeper.stackEnd;
  const uintptr_t high = codeFirst ? keeper.stackStart : keeper.codeStart;
  const uintptr_t highEnd = codeFirst ? keeper.stackEnd : keeper.codeEnd;
  // Where another C library registered something else the memory stays: a waste, no harm.
  if (keeper.rseqArea == 0 || rawCall(SYS_rseq, keeper.rseqArea, RSEQ_AREA_BYTES, RSEQ_UNREGISTER,
                                      RSEQ_SIGNATURE) == 0) {
    rawCall(SYS_munmap, ADDRESS_MIN, static_cast<long>(low - ADDRESS_MIN));
    rawCall(SYS_munmap, static_cast<long>(lowEnd), static_cast<long>(high - lowEnd));
    rawCall(SYS_munmap, static_cast<long>(highEnd), static_cast<long>(ADDRESS_MAX - highEnd));
  }
  static const char NAME[] = "baash-keeper";
  rawCall(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>(NAME));
  rawCall(SYS_setsid);
  rawCall(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR1);
  // All signals are blocked; the one that tells of the end of the thread that made this process is
  // waited for. That thread may end before its process does, so look every second as well.
  const uint64_t usr1 = 1ull << (SIGUSR1 - 1);
  const timespec second{1, 0};
  while (rawCall(SYS_getppid) == keeper.process) {
    rawCall(SYS_rt_sigtimedwait, reinterpret_cast<long>(&usr1), 0, reinterpret_cast<long>(&second),
            sizeof usr1);
  }
  hangUp();
  int kept = 0;
  for (int descriptor = 0; descriptor < DESCRIPTORS_LOOKED_AT; descriptor++) {
    if (descriptor == keeper.launcherDescriptor) continue;
    if (kindOf(descriptor) == Opened::TcpOutside) {
      kept++;
    } else {
      rawCall(SYS_close, descriptor);
    }
  }
  if (kept > 0 && keeper.launcherDescriptor >= 0) {
    pollfd watched{keeper.launcherDescriptor, POLLIN, 0};
    rawCall(SYS_ppoll, reinterpret_cast<long>(&watched), 1, 0, 0, 0);
  }
  while (kept > 0 && keeper.launcherDescriptor < 0 && rawCall(SYS_kill, keeper.launcher, 0) == 0) {
    rawCall(SYS_rt_sigtimedwait, reinterpret_cast<long>(&usr1), 0, reinterpret_cast<long>(&second),
            sizeof usr1);
  }
  rawCall(SYS_exit_group, 0);
  __builtin_unreachable();
}

// Where this addon's code and data lie.
inline int findAddon(dl_phdr_info* info, size_t, void* argument) {
  auto* keeper = static_cast<Keeper*>(argument);
  const auto here = reinterpret_cast<uintptr_t>(&keep);
  uintptr_t start = UINTPTR_MAX, end = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    start = from < start ? from : start;
    end = from + info->dlpi_phdr[i].p_memsz > end ? from + info->dlpi_phdr[i].p_memsz : end;
  }
  if (here < start || here >= end) return 0;
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  keeper->codeStart = start / page * page;
  keeper->codeEnd = (end + page - 1) / page * page;
  return 1;
}

// Called once, before MPI opens anything. Without mpirun there is nobody to outlive.
inline void startKeeper() {
  if (getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return;
  Keeper keeper{};
  if (dl_iterate_phdr(findAddon, &keeper) == 0) return;
  void* stack = mmap(nullptr, KEEPER_STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) return;
  keeper.process = getpid();
  keeper.launcher = getppid();
  keeper.launcherDescriptor = static_cast<int>(syscall(SYS_pidfd_open, keeper.launcher, 0));
  if (&__rseq_size != nullptr && __rseq_size > 0) {
    keeper.rseqArea = reinterpret_cast<long>(__builtin_thread_pointer()) + __rseq_offset;
  }
  keeper.stackStart = reinterpret_cast<uintptr_t>(stack);
  keeper.stackEnd = keeper.stackStart + KEEPER_STACK_BYTES;
  auto* argument = reinterpret_cast<Keeper*>(keeper.stackStart);
  *argument = keeper;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  // No exit signal: whoever waits for children of this process is not told of it.
  clone(keep, static_cast<char*>(stack) + KEEPER_STACK_BYTES, CLONE_FILES, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  munmap(stack, KEEPER_STACK_BYTES);
}

#else

inline void startKeeper() {}

#endif

}  // namespace baash
