// clone and clone3 without the C library: flags that threads need, words that the kernel writes, refusals.
#include "futex.h"
#include <linux/sched.h>
#include <sched.h>

static char stack[64 * 1024] __attribute__((aligned(16)));
static uint32_t child_tid, parent_tid;
static uint64_t tls_area[8];

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

// A raw thread may not call the C library (it has no thread control block): it does its work in assembly and exits.
// It stores FS:0 (if it has TLS) and its tid in the array that rbx points to.
static long clone3_thread(struct clone_args *arguments, size_t size, uint64_t *results) {
    long result;
    __asm__ volatile("movq %3, %%rbx\n\t"
                     "movl $435, %%eax\n\t"
                     "syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movl $186, %%eax\n\t" // gettid
                     "syscall\n\t"
                     "movq %%rax, 8(%%rbx)\n\t"
                     "movq %%rsp, 16(%%rbx)\n\t"
                     "cmpq $0, 24(%%rbx)\n\t"
                     "je 2f\n\t"
                     "movq %%fs:0, %%rax\n\t"
                     "movq %%rax, 32(%%rbx)\n\t"
                     "2: movq $1, 0(%%rbx)\n\t"
                     "movl $60, %%eax\n\t" // exit
                     "movl $7, %%edi\n\t"
                     "syscall\n\t"
                     "1:"
                     : "=a"(result)
                     : "D"(arguments), "S"(size), "r"(results)
                     : "rbx", "rcx", "r11", "memory");
    return result;
}

static void attempt(const char *name, struct clone_args arguments, size_t size) {
    uint64_t results[8] = {0};
    long result = clone3_thread(&arguments, size, results);
    if (result < 0)
        check_line(name, "-1 %s", check_errno_name((int)-result));
    else
        check_line(name, "a thread");
}

int main(void) {
    uint64_t results[8] = {0};
    tls_area[0] = 0x1234567;
    results[3] = 1;
    child_tid = 0xffff;
    struct clone_args arguments = {
        .flags = THREAD_FLAGS | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
        .child_tid = (uintptr_t)&child_tid,
        .parent_tid = (uintptr_t)&parent_tid,
        .stack = (uintptr_t)stack,
        .stack_size = sizeof stack,
        .tls = (uintptr_t)tls_area,
    };
    child_tid = 1;
    long tid = clone3_thread(&arguments, sizeof arguments, results);
    IS("clone3 returns a thread id", tid > 0);
    IS("the parent's word has it", parent_tid == (uint32_t)tid);
    // The kernel clears the word and wakes one waiter when the thread has gone.
    while (*(volatile uint32_t *)&child_tid != 0)
        futex(&child_tid, FUTEX_WAIT, 1, NULL, NULL, 0);
    VALUE("child word cleared at exit", child_tid);
    VALUE("it ran", results[0]);
    IS("gettid agrees", results[1] == (uint64_t)tid);
    IS("stack pointer began at the top", results[2] == (uintptr_t)stack + sizeof stack);
    HEX("its FS:0", results[4]);
    IS("our FS is untouched", (uintptr_t)__builtin_thread_pointer() != (uintptr_t)tls_area);

    memset(results, 0, sizeof results);
    arguments.flags = THREAD_FLAGS | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    child_tid = 0;
    tid = clone3_thread(&arguments, CLONE_ARGS_SIZE_VER0, results);
    IS("version 0 of the structure", tid > 0);
    while (*(volatile uint64_t *)&results[0] == 0 || *(volatile uint32_t *)&child_tid != 0)
        sched_yield();
    VALUE("ran without TLS of its own", results[0]);

    struct clone_args base = {.flags = THREAD_FLAGS, .stack = (uintptr_t)stack, .stack_size = sizeof stack}, wrong;
    attempt("structure too small", base, 32);
    struct {
        struct clone_args known;
        uint64_t more[4];
    } larger = {.known = base, .more = {1}};
    CALL("unknown fields set", syscall(SYS_clone3, &larger, sizeof larger));
    CALL("structure larger than a page", syscall(SYS_clone3, &larger, 5000));
    CALL("bad pointer", syscall(SYS_clone3, UNMAPPED, sizeof base));
    wrong = base;
    wrong.flags = CLONE_VM | CLONE_THREAD;
    attempt("thread without shared handlers", wrong, sizeof wrong);
    wrong.flags = CLONE_SIGHAND | CLONE_FS;
    attempt("shared handlers without shared memory", wrong, sizeof wrong);
    wrong.flags = THREAD_FLAGS | CLONE_NEWNS;
    attempt("thread in a new name space of mounts", wrong, sizeof wrong);
    wrong.flags = THREAD_FLAGS | CLONE_DETACHED;
    attempt("old flag CLONE_DETACHED", wrong, sizeof wrong);
    wrong.flags = THREAD_FLAGS | CSIGNAL;
    attempt("exit signal in the flags", wrong, sizeof wrong);
    wrong = base;
    wrong.exit_signal = SIGCHLD;
    attempt("exit signal for a thread", wrong, sizeof wrong);
    wrong = base;
    wrong.stack_size = 0;
    attempt("stack without size", wrong, sizeof wrong);
    wrong = base;
    wrong.stack = 0;
    attempt("size without stack", wrong, sizeof wrong);
    wrong = base;
    wrong.stack = (uintptr_t)KERNEL_ADDRESS;
    attempt("stack in the kernel", wrong, sizeof wrong);
    wrong = base;
    wrong.flags |= CLONE_SETTLS;
    wrong.tls = (uintptr_t)KERNEL_ADDRESS;
    attempt("TLS in the kernel", wrong, sizeof wrong);
    wrong = base;
    wrong.flags |= 1UL << 40;
    attempt("unknown flag", wrong, sizeof wrong);
    wrong = base;
    wrong.set_tid_size = 1;
    attempt("thread ids without their array", wrong, sizeof wrong);
    CALL("clone: thread without shared handlers", syscall(SYS_clone, CLONE_THREAD | CLONE_VM, stack + sizeof stack, NULL, NULL, NULL));
    CALL("clone: shared handlers without memory", syscall(SYS_clone, CLONE_SIGHAND, NULL, NULL, NULL, NULL));
    IS("set_tid_address returns our id", syscall(SYS_set_tid_address, &child_tid) == check_tid());
    return 0;
}
