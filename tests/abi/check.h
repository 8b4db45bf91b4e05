// The vocabulary of the ABI programs (see README.md).
//
// A program prints one line per check, `name: result`, and nothing else. The same binary runs on Linux and in
// Crema; whatever Linux prints is right. A result therefore holds nothing that two runs of the same Linux may
// print differently: no address, no descriptor number, no identifier, no time. Such a value is first turned into
// a statement about it ("does it lie inside the mapping?"), and the statement is printed.
#ifndef CREMA_TESTS_ABI_CHECK_H
#define CREMA_TESTS_ABI_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

// A user-space address that is never mapped: page 0 is below vm.mmap_min_addr on every Linux.
#define UNMAPPED ((void *)8)
// The first address that is not canonical (Intel SDM vol. 1, 3.3.7.1).
#define NON_CANONICAL ((void *)0x0000800000000000UL)
// In the half of the address space that belongs to the kernel.
#define KERNEL_ADDRESS ((void *)0xffff800000000000UL)

static inline void check_line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void check_line(const char *name, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    flockfile(stdout);
    printf("%s: ", name);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
    va_end(arguments);
}

static inline const char *check_errno_name(int number) {
    const char *name = strerrorname_np(number);
    return name ? name : "unknown errno";
}

static inline void check_result(const char *name, long result, int error) {
    if (result == -1)
        check_line(name, "-1 %s", check_errno_name(error));
    else
        check_line(name, "%ld", result);
}

static inline void check_success(const char *name, long result, int error) {
    if (result == -1)
        check_line(name, "-1 %s", check_errno_name(error));
    else
        check_line(name, "ok");
}

// The exact return value of a call, or -1 and the name of its errno.
#define CALL(name, expression)                                                                                        \
    do {                                                                                                              \
        errno = 0;                                                                                                    \
        long check_value = (long)(expression);                                                                        \
        check_result(name, check_value, errno);                                                                       \
    } while (0)

// The same for a call whose good result is arbitrary (a descriptor, an address): "ok".
#define CALL_OK(name, expression)                                                                                     \
    do {                                                                                                              \
        errno = 0;                                                                                                    \
        long check_value = (long)(expression);                                                                        \
        check_success(name, check_value, errno);                                                                      \
    } while (0)

// A pthread function, which returns its error number.
#define PTHREAD(name, expression) check_line(name, "%s", check_errno_name(expression))

// A number, a string, a condition.
#define VALUE(name, expression) check_line(name, "%lld", (long long)(expression))
#define HEX(name, expression) check_line(name, "0x%llx", (unsigned long long)(expression))
#define TEXT(name, expression) check_line(name, "%s", (expression))
#define IS(name, condition) check_line(name, "%s", (condition) ? "yes" : "no")

// What the checks stand on and do not check themselves. A failure ends the program with a line that no other
// system prints.
#define REQUIRE(condition)                                                                                            \
    do {                                                                                                              \
        errno = 0;                                                                                                    \
        if (!(condition)) {                                                                                           \
            check_line("REQUIRED", "%s (line %d, %s)", #condition, __LINE__, check_errno_name(errno));                \
            exit(99);                                                                                                 \
        }                                                                                                             \
    } while (0)

static inline pid_t check_tid(void) { return (pid_t)syscall(SYS_gettid); }

static inline int64_t check_now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void check_sleep_ms(long milliseconds) {
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&rest, &rest) == -1 && errno == EINTR) {
    }
}

// Waits until a thread of this process sleeps in the kernel, as /proc says (state S). It makes "the other thread
// is blocked now" a fact and not a guess about time, so that the programs stay exact on a loaded machine.
static inline void check_await_sleeping(pid_t tid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    for (;;) {
        char text[512] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd == -1) {
            // The thread has ended; or there is no /proc, and then time must do.
            if (access("/proc/self/task", F_OK) == -1)
                check_sleep_ms(50);
            return;
        }
        ssize_t length = read(fd, text, sizeof text - 1);
        close(fd);
        const char *state = length > 0 ? strrchr(text, ')') : NULL;
        if (state && state[1] == ' ' && state[2] == 'S')
            return;
        check_sleep_ms(1);
    }
}

static inline void check_catch(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    REQUIRE(sigaction(number, &action, NULL) == 0);
}

static inline void check_remove_tree(const char *path) {
    // Not through a symbolic link: what it names is not ours.
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd == -1 ? NULL : fdopendir(fd);
    if (directory) {
        struct dirent *entry;
        while ((entry = readdir(directory)) != NULL) {
            char *child;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                asprintf(&child, "%s/%s", path, entry->d_name) == -1)
                continue;
            if (unlink(child) == -1)
                check_remove_tree(child);
            free(child);
        }
        closedir(directory);
    }
    rmdir(path);
}

// Makes an empty directory below $TMPDIR (or /tmp), enters it, and removes it and what is left in it at exit.
static char check_scratch[PATH_MAX];

static inline void check_leave_scratch(void) {
    if (chdir("/") == 0)
        check_remove_tree(check_scratch);
}

static inline void check_enter_scratch(void) {
    const char *base = getenv("TMPDIR");
    snprintf(check_scratch, sizeof check_scratch, "%s/crema-abi-XXXXXX", base && *base ? base : "/tmp");
    REQUIRE(mkdtemp(check_scratch) != NULL);
    REQUIRE(chdir(check_scratch) == 0);
    atexit(check_leave_scratch);
}

// Runs before main: every program starts from the same signal state, file mode mask and locale, whatever started it.
__attribute__((constructor)) static void check_normalise(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP && number != 32 && number != 33)
            signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);
    setvbuf(stdout, NULL, _IOFBF, 8192);
}

#endif
