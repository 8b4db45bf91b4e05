// sigaltstack(2): which stack a handler runs on, also after the normal stack has overflowed.
#include "fault.h"
#include <sys/resource.h>

static char stack[64 * 1024] __attribute__((aligned(16)));
static volatile bool on_stack;
static volatile int flags_inside, change_result, change_errno;
static sigjmp_buf back;
static volatile uintptr_t fault_at;

static void where(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    char here;
    on_stack = (uintptr_t)&here - (uintptr_t)stack < sizeof stack;
    stack_t now, other = {.ss_sp = stack, .ss_size = sizeof stack / 2};
    sigaltstack(NULL, &now);
    flags_inside = now.ss_flags;
    change_result = sigaltstack(&other, NULL);
    change_errno = errno;
    IS("context holds the stack", machine->uc_stack.ss_sp == stack && machine->uc_stack.ss_size == sizeof stack);
}

static void overflowed(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    char here;
    on_stack = (uintptr_t)&here - (uintptr_t)stack < sizeof stack;
    fault_at = (uintptr_t)info->si_addr;
    siglongjmp(back, 1);
}

static long recurse(volatile long depth) {
    volatile char frame[512];
    frame[0] = (char)depth;
    return depth > 100000000 ? 0 : recurse(depth + 1) + frame[0];
}

static void *overflow(void *argument) {
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, NULL);
    if (sigsetjmp(back, 1) == 0) {
        recurse(0);
        return NULL;
    }
    pthread_attr_t attributes;
    void *base;
    size_t size;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &base, &size);
    size_t guard;
    pthread_attr_getguardsize(&attributes, &guard);
    IS(argument, fault_at >= (uintptr_t)base - guard && fault_at < (uintptr_t)base + guard);
    return argument;
}

int main(void) {
    stack_t now, set = {.ss_sp = stack, .ss_size = sizeof stack};
    CALL("query at start", sigaltstack(NULL, &now));
    HEX("disabled at start", now.ss_flags);
    check_catch(SIGUSR1, where, SA_ONSTACK);
    CALL("set", sigaltstack(&set, &now));
    raise(SIGUSR1);
    IS("handler with SA_ONSTACK is on it", on_stack);
    HEX("flags inside", flags_inside);
    check_line("change inside the handler", "%d %s", change_result, check_errno_name(change_errno));
    CALL("query", sigaltstack(NULL, &now));
    HEX("flags outside", now.ss_flags);
    IS("still set", now.ss_sp == stack && now.ss_size == sizeof stack);
    check_catch(SIGUSR1, where, 0);
    raise(SIGUSR1);
    IS("handler without SA_ONSTACK is not", !on_stack);

    set.ss_size = 2047;
    CALL("too small", sigaltstack(&set, NULL));
    set.ss_size = sizeof stack;
    set.ss_flags = 77;
    CALL("unknown flags", sigaltstack(&set, NULL));
    set.ss_flags = SS_ONSTACK;
    CALL("SS_ONSTACK is taken as 0", sigaltstack(&set, NULL));
    set.ss_flags = (int)(1U << 31);
    CALL("SS_AUTODISARM", sigaltstack(&set, NULL));
    check_catch(SIGUSR1, where, SA_ONSTACK);
    raise(SIGUSR1);
    HEX("autodisarm: flags inside", flags_inside);
    check_line("autodisarm: change inside is allowed", "%d", change_result);
    CALL("query after autodisarm", sigaltstack(NULL, &now));
    IS("autodisarm: set again after the handler", now.ss_sp == stack);
    CALL("bad pointer", sigaltstack(UNMAPPED, NULL));
    CALL("bad old pointer", sigaltstack(NULL, UNMAPPED));
    set.ss_flags = SS_DISABLE;
    CALL("disable", sigaltstack(&set, NULL));
    raise(SIGUSR1);
    IS("SA_ONSTACK without a stack", !on_stack);

    check_catch(SIGSEGV, overflowed, SA_ONSTACK);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        on_stack = false;
        REQUIRE(pthread_create(&thread, NULL, overflow, "a thread's overflow faults in its guard") == 0);
        pthread_join(thread, NULL);
        IS("overflow is handled on the alternate stack", on_stack);
    }
    // The main thread's stack ends where RLIMIT_STACK says.
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_STACK, &limit) == 0);
    set = (stack_t){.ss_sp = stack, .ss_size = sizeof stack};
    REQUIRE(sigaltstack(&set, NULL) == 0);
    on_stack = false;
    if (sigsetjmp(back, 1) == 0)
        recurse(0);
    IS("the main thread's overflow is handled", on_stack);
    // The address is 1 MiB below where the stack began, give or take what lies above main (arguments, a random gap).
    uintptr_t top = (uintptr_t)__builtin_frame_address(0);
    IS("it grew to its limit", top - fault_at > (1 << 20) - 256 * 1024 && top - fault_at < (1 << 20) + 256 * 1024);
    return 0;
}
