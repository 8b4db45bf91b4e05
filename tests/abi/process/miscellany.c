// Random numbers, membarrier, arch_prctl, the auxiliary vector, unknown calls, and bad pointers in each family.
#include "check.h"
#include <asm/prctl.h>
#include <elf.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>

static long call(long number, long a, long b, long c, long d, long e, long f) { return syscall(number, a, b, c, d, e, f); }

int main(int count, char **arguments, char **environment) {
    unsigned char random[256], other[256];
    memset(random, 0, sizeof random);
    CALL("getrandom", getrandom(random, sizeof random, 0));
    getrandom(other, sizeof other, 0);
    IS("it differs each time", memcmp(random, other, sizeof random) != 0);
    int ones = 0;
    for (size_t i = 0; i < sizeof random; i++)
        ones += __builtin_popcount(random[i]);
    IS("about half of its bits are set", ones > 800 && ones < 1250);
    CALL("getrandom, at once", getrandom(random, 16, GRND_NONBLOCK));
    CALL("getrandom, /dev/random", getrandom(random, 16, GRND_RANDOM));
    CALL("getrandom of nothing", getrandom(random, 0, 0));
    CALL("getrandom, unknown flag", getrandom(random, 16, 0x100));
    CALL("getrandom, random and insecure", getrandom(random, 16, GRND_RANDOM | GRND_INSECURE));
    CALL("getrandom, bad buffer", getrandom(UNMAPPED, 16, 0));
    static unsigned char large[1 << 20];
    CALL("getrandom, 1 MiB", getrandom(large, sizeof large, 0));

    IS("membarrier query has the private ones", (syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0);
    CALL("membarrier before registration", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    CALL("membarrier register", syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    CALL("membarrier private", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    CALL("membarrier global", syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
    CALL("membarrier, unknown", syscall(SYS_membarrier, 1 << 20, 0, 0));
    CALL("membarrier, flags", syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 8, 0));

    unsigned long base = 0;
    CALL("ARCH_GET_FS", syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
    IS("it is the thread pointer", base == (unsigned long)__builtin_thread_pointer());
    CALL("ARCH_SET_FS to the same", syscall(SYS_arch_prctl, ARCH_SET_FS, base));
    CALL("ARCH_SET_FS in the kernel", syscall(SYS_arch_prctl, ARCH_SET_FS, KERNEL_ADDRESS));
    CALL("ARCH_GET_FS, bad pointer", syscall(SYS_arch_prctl, ARCH_GET_FS, UNMAPPED));
    CALL("arch_prctl, unknown", syscall(SYS_arch_prctl, 0x9999, 0));

    VALUE("AT_PAGESZ", getauxval(AT_PAGESZ));
    VALUE("AT_CLKTCK", getauxval(AT_CLKTCK));
    VALUE("AT_UID", getauxval(AT_UID));
    VALUE("AT_SECURE", getauxval(AT_SECURE));
    VALUE("AT_PHENT", getauxval(AT_PHENT));
    // glibc changes what getauxval says of the next two, so they are read from where the kernel put them.
    char **end = environment;
    while (*end)
        end++;
    for (const Elf64_auxv_t *entry = (const Elf64_auxv_t *)(end + 1); entry->a_type != AT_NULL; entry++) {
        if (entry->a_type == AT_PLATFORM)
            TEXT("AT_PLATFORM", (const char *)entry->a_un.a_val);
        if (entry->a_type == AT_HWCAP)
            IS("AT_HWCAP has SSE2", entry->a_un.a_val >> 26 & 1);
    }
    IS("AT_EXECFN is argv[0] or names the same file", ({
           struct stat a, b;
           stat((const char *)getauxval(AT_EXECFN), &a) == 0 && stat(arguments[0], &b) == 0 && a.st_ino == b.st_ino;
       }));
    const Elf64_Phdr *headers = (const Elf64_Phdr *)getauxval(AT_PHDR);
    int loads = 0, interpreter = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        loads += headers[i].p_type == PT_LOAD;
        interpreter += headers[i].p_type == PT_INTERP;
    }
    IS("AT_PHDR: loads and an interpreter", loads >= 2 && interpreter == 1);
    IS("AT_BASE is the loader", memcmp((void *)getauxval(AT_BASE), ELFMAG, SELFMAG) == 0);
    IS("AT_ENTRY lies in the program", getauxval(AT_ENTRY) > getauxval(AT_PHDR));
    const unsigned char *canary = (const unsigned char *)getauxval(AT_RANDOM);
    int different = 0;
    for (int i = 1; i < 16; i++)
        different += canary[i] != canary[0];
    IS("AT_RANDOM is random", different > 5);
    IS("AT_SYSINFO_EHDR is an ELF", memcmp((void *)getauxval(AT_SYSINFO_EHDR), ELFMAG, SELFMAG) == 0);
    IS("the stack was aligned to 16 at the start", ((uintptr_t)(arguments - 1) & 15) == 0);
    IS("arguments end with a null, then the environment", arguments[count] == NULL && environment == arguments + count + 1);

    CALL("call 1000", syscall(1000));
    CALL("call -1", syscall(-1L));
    CALL("call of 2^32 + getpid", ({ long result; __asm__ volatile("syscall" : "=a"(result) : "a"(0x100000000L + SYS_getpid) : "rcx", "r11", "memory"); result < 0 ? (errno = (int)-result, -1L) : result == getpid() ? 0L : 1L; }));
    CALL("call 600", syscall(600));
    CALL("restart_syscall with nothing to restart", syscall(SYS_restart_syscall));
    CALL("removed call: create_module", syscall(174));
    CALL("removed call: uselib", syscall(134, "x"));

    // Registers other than rax, rcx and r11 keep their values over a call; rcx and r11 hold rip and flags.
    static unsigned long registers[12];
    __asm__ volatile("movq $1, %%rbx; movq $2, %%rdx; movq $3, %%rsi; movq $4, %%rdi; movq $5, %%r8; movq $6, %%r9; movq $7, %%r10\n\t"
                     "movq $8, %%r12; movq $9, %%r13; movq $10, %%r14; movq $11, %%r15; std; movl $24, %%eax; syscall\n\t"
                     "leaq %0, %%rax\n\t"
                     "movq %%rbx, 0(%%rax); movq %%rdx, 8(%%rax); movq %%rsi, 16(%%rax); movq %%rdi, 24(%%rax); movq %%r8, 32(%%rax)\n\t"
                     "movq %%r9, 40(%%rax); movq %%r10, 48(%%rax); movq %%r12, 56(%%rax); movq %%r13, 64(%%rax); movq %%r14, 72(%%rax)\n\t"
                     "movq %%r15, 80(%%rax); pushfq; popq %%rbx; cld; movq %%rbx, 88(%%rax)"
                     : "=m"(registers) : : "memory", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc");
    check_line("registers after sched_yield", "%lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu", registers[0], registers[1], registers[2], registers[3],
               registers[4], registers[5], registers[6], registers[7], registers[8], registers[9], registers[10]);
    HEX("direction flag survives", registers[11] & 0x400);
    unsigned long rip, label, flags;
    __asm__ volatile("stc; movl $39, %%eax; syscall; 1: leaq 1b(%%rip), %1; movq %%rcx, %0; movq %%r11, %2"
                     : "=&r"(rip), "=&r"(label), "=&r"(flags) : : "rax", "rcx", "r11", "cc", "memory");
    IS("rcx is the address after syscall", rip == label);
    HEX("r11 holds the flags: CF, IF and the one that is always 1", flags & 0x203);

    const struct {
        const char *name;
        long number, a, b, c, d, e, f;
    } bad[] = {
        {"open", SYS_open, 8, 0, 0, 0, 0, 0},
        {"stat", SYS_stat, (long)"/", 8, 0, 0, 0, 0},
        {"pipe2", SYS_pipe2, 8, 0, 0, 0, 0, 0},
        {"nanosleep", SYS_nanosleep, 8, 0, 0, 0, 0, 0},
        {"clock_gettime", SYS_clock_gettime, 0, 8, 0, 0, 0, 0},
        {"gettimeofday", SYS_gettimeofday, 8, 0, 0, 0, 0, 0},
        {"rt_sigaction", SYS_rt_sigaction, 10, 8, 0, 8, 0, 0},
        {"sigaltstack", SYS_sigaltstack, 8, 0, 0, 0, 0, 0},
        {"uname", SYS_uname, 8, 0, 0, 0, 0, 0},
        {"getcwd", SYS_getcwd, 8, 100, 0, 0, 0, 0},
        {"getrlimit", SYS_getrlimit, 0, 8, 0, 0, 0, 0},
        {"times", SYS_times, 8, 0, 0, 0, 0, 0},
        {"time", SYS_time, 8, 0, 0, 0, 0, 0},
        {"statx", SYS_statx, AT_FDCWD, (long)"/", 0, 0, 8, 0},
        {"readlink", SYS_readlink, 8, 8, 10, 0, 0, 0},
        {"mkdir", SYS_mkdir, 8, 0, 0, 0, 0, 0},
        {"unlink", SYS_unlink, 8, 0, 0, 0, 0, 0},
        {"rename", SYS_rename, 8, 8, 0, 0, 0, 0},
        {"chdir", SYS_chdir, 8, 0, 0, 0, 0, 0},
        {"sched_getaffinity", SYS_sched_getaffinity, 0, 128, 8, 0, 0, 0},
        {"getgroups", SYS_getgroups, 65536, 8, 0, 0, 0, 0},
        {"futex", SYS_futex, 8, FUTEX_WAIT, 0, 0, 0, 0},
        {"prlimit64", SYS_prlimit64, 0, RLIMIT_NOFILE, 8, 0, 0, 0},
        {"poll", SYS_poll, 8, 1, 0, 0, 0, 0},
        {"timer_create", SYS_timer_create, CLOCK_MONOTONIC, 0, 8, 0, 0, 0},
        {"get_robust_list", SYS_get_robust_list, 0, 8, 8, 0, 0, 0},
        {"statfs", SYS_statfs, 8, 8, 0, 0, 0, 0},
        {"memfd_create", SYS_memfd_create, 8, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[64];
        snprintf(name, sizeof name, "bad pointer: %s", bad[i].name);
        CALL(name, call(bad[i].number, bad[i].a, bad[i].b, bad[i].c, bad[i].d, bad[i].e, bad[i].f));
    }
    return 0;
}
