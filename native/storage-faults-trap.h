/*
 * Part of storage-faults.c: opens that Bun makes by system calls of its own code, past the C library.
 * A seccomp filter on openat from the program's own image turns each into a SIGSYS, which is answered
 * here by an open through the C library, where the rules are asked. x86-64; elsewhere such opens pass
 * unseen, and the control file says so.
 */
#if defined(__x86_64__)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <link.h>
#include <signal.h>
#include <sys/prctl.h>
#include <ucontext.h>

static uintptr_t image_start, image_end;

static void on_trap(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  int saved = errno;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  /* The call itself is made at an address of the C library, which the filter lets pass. */
  int file = openat((int)registers[REG_RDI], (const char *)registers[REG_RSI],
                    (int)registers[REG_RDX], (mode_t)registers[REG_R10]);
  registers[REG_RAX] = file < 0 ? -errno : file;
  errno = saved;
}

/* Bun has a handler of its own for calls that a sandbox forbids: it would take the place of ours. */
int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
  int is_ours = action != NULL && action->sa_sigaction == on_trap;
  if (image_end != 0 && number == SIGSYS && action != NULL && !is_ours) return 0;
  return REAL(sigaction)(number, action, old);
}

/* Called for the first object only, which is the program itself. */
static int find_image(struct dl_phdr_info *object, size_t size, void *data) {
  (void)size;
  (void)data;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) continue;
    uintptr_t start = object->dlpi_addr + part->p_vaddr;
    if (image_start == 0 || start < image_start) image_start = start;
    if (start + part->p_memsz > image_end) image_end = start + part->p_memsz;
  }
  return 1;
}

static int install_filter(void) {
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define JUMP(test, value, then, else) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, then, else)
  const uint32_t address = offsetof(struct seccomp_data, instruction_pointer);
  struct sock_filter filter[] = {
      LOAD(offsetof(struct seccomp_data, arch)),
      JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 0, 8),
      LOAD(offsetof(struct seccomp_data, nr)),
      JUMP(BPF_JEQ, __NR_openat, 0, 6),
      LOAD(address + 4), /* the upper half */
      JUMP(BPF_JEQ, (uint32_t)(image_start >> 32), 0, 4),
      LOAD(address),
      JUMP(BPF_JGE, (uint32_t)image_start, 0, 2),
      JUMP(BPF_JGE, (uint32_t)image_end, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* Answers whether opens by the program's own code are seen from now on. */
static int trap_opens(void) {
  dl_iterate_phdr(find_image, NULL);
  struct sigaction action = {0};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
  int is_narrow = image_end != 0 && image_start >> 32 == image_end >> 32;
  if (is_narrow && sigaction(SIGSYS, &action, NULL) == 0 && install_filter()) return 1;
  image_end = 0;
  return 0;
}
#else
static int trap_opens(void) {
  return 0;
}
#endif
