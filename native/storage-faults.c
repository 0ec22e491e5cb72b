/*
 * Storage that fails when it is told to: a library for LD_PRELOAD. Calls of a rank that touch a path
 * below a given prefix are delayed, or answered with an error instead of being made, as the rules in a
 * control file say. The file is mapped, so that rules change while ranks run, and each rule counts in
 * it how often it struck. Linux; made for scripts/chaos (src/chaos/storage-control.ts writes the file).
 *
 * BAASH_STORAGE_FAULTS names the control file. Only the ranks of a job look at it (a launcher has
 * numbered them); in all other processes, and without rules, every call passes at once.
 *
 * Bun opens files by system calls of its own code, past the C library. These are caught by a seccomp
 * filter on openat from Bun's image alone, whose signal is answered here (x86-64). The other calls of
 * the writer go through the C library: fsync, link, rename, unlink, mkdir by name, writev, statx and
 * getdents64 through syscall(2).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The control file; storage-control.ts has the same offsets. Numbers are little-endian. */
#define MAGIC "BAASHSF1"
#define RULES_MAX 8
#define PIDS_MAX 64

enum call {
  CALL_OPEN = 1,
  CALL_CREATE = 2, /* an open that makes the file */
  CALL_WRITE = 4,
  CALL_FSYNC = 8,
  CALL_LINK = 16,
  CALL_RENAME = 32,
  CALL_UNLINK = 64,
  CALL_MKDIR = 128, /* and rmdir */
  CALL_LIST = 256,
  CALL_STAT = 512,
};

enum target { ON_ANY = 0, ON_FILES = 1, ON_DIRECTORIES = 2 };

struct rule {
  uint32_t calls;
  int32_t error;     /* errno; 0: the call is made after the delay */
  uint32_t rate;     /* of a million */
  uint32_t delay_ms;
  uint32_t target;
  uint32_t pid_count; /* 0: every rank */
  _Atomic uint32_t hits;
  uint32_t reserved;
  char below[224]; /* path below the prefix, "/log"; empty: all */
  uint32_t pids[PIDS_MAX];
};

struct control {
  char magic[8];
  _Atomic uint32_t version; /* odd while the rules are being written */
  uint32_t rule_count;
  _Atomic uint32_t attached;  /* processes that mapped the file */
  _Atomic uint32_t untrapped; /* of these, those whose opens pass unseen */
  uint32_t prefix_bytes;
  uint32_t reserved;
  char prefix[480];
  struct rule rules[RULES_MAX];
};

_Static_assert(sizeof(struct rule) == 512, "storage-control.ts counts on it");
_Static_assert(offsetof(struct control, rules) == 512, "storage-control.ts counts on it");

static struct control *control;

/* The C library's function, looked up once. */
#define REAL(name)                                       \
  ({                                                     \
    static __typeof__(&name) found;                      \
    if (found == NULL) found = real_of(#name);           \
    found;                                               \
  })

static void *real_of(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) {
    fprintf(stderr, "storage-faults: there is no %s to pass a call on to\n", name);
    abort();
  }
  return found;
}

/* xorshift64: which calls a rate picks need not be repeatable, only spread. */
static uint32_t draw_below(uint32_t limit) {
  static __thread uint64_t state;
  if (state == 0) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    state = ((uint64_t)now.tv_nsec << 20) ^ ((uint64_t)getpid() << 40) ^ (uintptr_t)&state ^ 1;
  }
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)((state >> 11) % limit);
}

static void pause_ms(uint32_t ms) {
  struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

/* Copies the rules as one moment's; 0 rules when there are none or a writer died over them. */
static uint32_t copy_rules(struct rule rules[RULES_MAX], char prefix[480], uint32_t *prefix_bytes) {
  for (int tries = 0; tries < 1000; tries++) {
    uint32_t before = atomic_load_explicit(&control->version, memory_order_acquire);
    if (before % 2 == 0) {
      uint32_t count = control->rule_count;
      if (count > RULES_MAX) return 0;
      memcpy(rules, (const void *)control->rules, count * sizeof(struct rule));
      *prefix_bytes = control->prefix_bytes < 480 ? control->prefix_bytes : 0;
      memcpy(prefix, control->prefix, *prefix_bytes);
      atomic_thread_fence(memory_order_acquire);
      if (atomic_load_explicit(&control->version, memory_order_relaxed) == before) return count;
    }
    sched_yield();
  }
  return 0;
}

static int starts_with(const char *path, const char *start, size_t bytes) {
  return strncmp(path, start, bytes) == 0 && (path[bytes] == '/' || path[bytes] == '\0');
}

static int is_for_us(const struct rule *rule) {
  if (rule->pid_count == 0) return 1;
  uint32_t own = (uint32_t)getpid();
  for (uint32_t i = 0; i < rule->pid_count && i < PIDS_MAX; i++) {
    if (rule->pids[i] == own) return 1;
  }
  return 0;
}

/* What the rules make of a call: waits, and answers 0 (make the call) or an errno. */
static int judge(uint32_t call, const char *path, int is_directory) {
  struct rule rules[RULES_MAX];
  char prefix[480];
  uint32_t prefix_bytes = 0;
  uint32_t count = copy_rules(rules, prefix, &prefix_bytes);
  if (count == 0 || prefix_bytes == 0 || !starts_with(path, prefix, prefix_bytes)) return 0;
  for (uint32_t i = 0; i < count; i++) {
    const struct rule *rule = &rules[i];
    if ((rule->calls & call) == 0 || !is_for_us(rule)) continue;
    if (rule->target == ON_FILES && is_directory) continue;
    if (rule->target == ON_DIRECTORIES && !is_directory) continue;
    size_t below = strnlen(rule->below, sizeof rule->below);
    if (below > 0 && !starts_with(path + prefix_bytes, rule->below, below)) continue;
    if (rule->rate < 1000000 && draw_below(1000000) >= rule->rate) continue;
    atomic_fetch_add_explicit(&control->rules[i].hits, 1, memory_order_relaxed);
    if (rule->delay_ms > 0) pause_ms(rule->delay_ms);
    if (rule->error != 0) return rule->error;
  }
  return 0;
}

static int is_active(void) {
  return control != NULL && control->rule_count != 0;
}

/* The absolute path of `path` as seen from `directory`; NULL when it cannot be told. */
static const char *absolute(int directory, const char *path, char out[PATH_MAX]) {
  if (path == NULL) return NULL;
  if (path[0] == '/') return path;
  char base[PATH_MAX];
  if (directory == AT_FDCWD) {
    if (getcwd(base, sizeof base) == NULL) return NULL;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, base, sizeof base - 1);
    if (length < 0) return NULL;
    base[length] = '\0';
  }
  int length = snprintf(out, PATH_MAX, "%s%s%s", base, path[0] == '\0' ? "" : "/", path);
  return length > 0 && length < PATH_MAX ? out : NULL;
}

/* Sets errno and answers 1 when a rule forbids the call on a path. */
static int forbids(uint32_t call, int directory, const char *path, int is_directory) {
  if (!is_active()) return 0;
  int saved = errno;
  char buffer[PATH_MAX];
  const char *full = absolute(directory, path, buffer);
  int error = full == NULL ? 0 : judge(call, full, is_directory);
  errno = error == 0 ? saved : error;
  return error != 0;
}

/* The same on an open file. */
static int forbids_file(uint32_t call, int file) {
  if (!is_active()) return 0;
  int saved = errno;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  int error = 0;
  if (length > 0 && path[0] == '/') {
    path[length] = '\0';
    struct stat status;
    int is_directory = fstat(file, &status) == 0 && S_ISDIR(status.st_mode);
    error = judge(call, path, is_directory);
  }
  errno = error == 0 ? saved : error;
  return error != 0;
}

static int forbids_open(int directory, const char *path, int flags) {
  uint32_t call = (flags & O_CREAT) != 0 ? CALL_CREATE : CALL_OPEN;
  return forbids(call, directory, path, (flags & O_DIRECTORY) != 0);
}

/* Opens; the mode is there only when the flags ask for one. */

#define MODE_OF(flags, last)                                     \
  mode_t mode = 0;                                               \
  if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) {                \
    va_list rest;                                                \
    va_start(rest, last);                                        \
    mode = va_arg(rest, mode_t);                                 \
    va_end(rest);                                                \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags, flags)
  if (forbids_open(AT_FDCWD, path, flags)) return -1;
  return REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_OF(flags, flags)
  if (forbids_open(AT_FDCWD, path, flags)) return -1;
  return REAL(open64)(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
  MODE_OF(flags, flags)
  if (forbids_open(directory, path, flags)) return -1;
  return REAL(openat)(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
  MODE_OF(flags, flags)
  if (forbids_open(directory, path, flags)) return -1;
  return REAL(openat64)(directory, path, flags, mode);
}

ssize_t write(int file, const void *bytes, size_t count) {
  if (forbids_file(CALL_WRITE, file)) return -1;
  return REAL(write)(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
  if (forbids_file(CALL_WRITE, file)) return -1;
  return REAL(writev)(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  if (forbids_file(CALL_WRITE, file)) return -1;
  return REAL(pwrite64)(file, bytes, count, offset);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
  if (forbids_file(CALL_WRITE, file)) return -1;
  return REAL(pwritev64)(file, parts, count, offset);
}

int fsync(int file) {
  if (forbids_file(CALL_FSYNC, file)) return -1;
  return REAL(fsync)(file);
}

int fdatasync(int file) {
  if (forbids_file(CALL_FSYNC, file)) return -1;
  return REAL(fdatasync)(file);
}

int link(const char *from, const char *to) {
  if (forbids(CALL_LINK, AT_FDCWD, to, 0)) return -1;
  return REAL(link)(from, to);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
  if (forbids(CALL_LINK, to_directory, to, 0)) return -1;
  return REAL(linkat)(from_directory, from, to_directory, to, flags);
}

int rename(const char *from, const char *to) {
  if (forbids(CALL_RENAME, AT_FDCWD, to, 0)) return -1;
  return REAL(rename)(from, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
  if (forbids(CALL_RENAME, to_directory, to, 0)) return -1;
  return REAL(renameat)(from_directory, from, to_directory, to);
}

int unlink(const char *path) {
  if (forbids(CALL_UNLINK, AT_FDCWD, path, 0)) return -1;
  return REAL(unlink)(path);
}

int unlinkat(int directory, const char *path, int flags) {
  int is_directory = (flags & AT_REMOVEDIR) != 0;
  if (forbids(is_directory ? CALL_MKDIR : CALL_UNLINK, directory, path, is_directory)) return -1;
  return REAL(unlinkat)(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  if (forbids(CALL_MKDIR, AT_FDCWD, path, 1)) return -1;
  return REAL(mkdir)(path, mode);
}

int rmdir(const char *path) {
  if (forbids(CALL_MKDIR, AT_FDCWD, path, 1)) return -1;
  return REAL(rmdir)(path);
}

/* Bun makes some calls by their numbers. */
long syscall(long number, ...) {
  static long (*real)(long, ...);
  if (real == NULL) real = (long (*)(long, ...))real_of("syscall");
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
  long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  int forbidden = 0;
  if (is_active()) {
    if (number == SYS_writev || number == SYS_pwritev || number == SYS_write ||
        number == SYS_pwrite64) {
      forbidden = forbids_file(CALL_WRITE, (int)a);
    } else if (number == SYS_openat) {
      forbidden = forbids_open((int)a, (const char *)b, (int)c);
    } else if (number == SYS_getdents64) {
      forbidden = forbids_file(CALL_LIST, (int)a);
    } else if (number == SYS_statx && b != 0 && *(const char *)b != '\0') {
      forbidden = forbids(CALL_STAT, (int)a, (const char *)b, 0);
    } else if (number == SYS_fsync || number == SYS_fdatasync) {
      forbidden = forbids_file(CALL_FSYNC, (int)a);
    } else if (number == SYS_renameat2) {
      forbidden = forbids(CALL_RENAME, (int)c, (const char *)d, 0);
    }
  }
  return forbidden ? -1 : real(number, a, b, c, d, e, f);
}

#include "storage-faults-trap.h"

static int is_rank(void) {
  return getenv("OMPI_COMM_WORLD_RANK") != NULL || getenv("PMI_RANK") != NULL ||
         getenv("PMIX_RANK") != NULL;
}

__attribute__((constructor)) static void attach(void) {
  const char *path = getenv("BAASH_STORAGE_FAULTS");
  if (path == NULL || !is_rank()) return;
  int file = REAL(open)(path, O_RDWR | O_CLOEXEC);
  void *mapped = MAP_FAILED;
  struct stat status;
  if (file >= 0 && fstat(file, &status) == 0 && status.st_size >= (off_t)sizeof(struct control)) {
    mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (file >= 0) close(file);
  if (mapped == MAP_FAILED || memcmp(mapped, MAGIC, 8) != 0) {
    fprintf(stderr, "storage-faults: %s is no control file; no call will fail\n", path);
    return;
  }
  struct control *found = mapped;
  atomic_fetch_add(&found->attached, 1);
  if (!trap_opens()) atomic_fetch_add(&found->untrapped, 1);
  control = found;
}
