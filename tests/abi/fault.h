// Touching memory that may fault, and saying what happened: "ok" or the signal, its code and its address
// relative to the mapping under test.
#ifndef CREMA_TESTS_ABI_FAULT_H
#define CREMA_TESTS_ABI_FAULT_H

#include "check.h"
#include <ucontext.h>

static sigjmp_buf fault_return;
static volatile bool fault_happened;
static siginfo_t fault_info;
static unsigned long fault_trapno, fault_error;

static inline void fault_handler(int number, siginfo_t *info, void *context) {
    (void)number;
    fault_info = *info;
    const ucontext_t *machine = context;
    fault_trapno = (unsigned long)machine->uc_mcontext.gregs[REG_TRAPNO];
    fault_error = (unsigned long)machine->uc_mcontext.gregs[REG_ERR];
    siglongjmp(fault_return, 1);
}

static inline const char *fault_code_name(int number, int code) {
    if (code == SI_KERNEL)
        return "SI_KERNEL";
    if (code == SI_USER)
        return "SI_USER";
    if (number == SIGSEGV)
        return code == SEGV_MAPERR ? "SEGV_MAPERR" : code == SEGV_ACCERR ? "SEGV_ACCERR" : "other";
    if (number == SIGBUS)
        return code == BUS_ADRERR ? "BUS_ADRERR" : code == BUS_ADRALN ? "BUS_ADRALN" : "other";
    if (number == SIGFPE)
        return code == FPE_INTDIV ? "FPE_INTDIV" : code == FPE_INTOVF ? "FPE_INTOVF"
             : code == FPE_FLTDIV ? "FPE_FLTDIV" : code == FPE_FLTINV ? "FPE_FLTINV" : "other";
    if (number == SIGILL)
        return code == ILL_ILLOPN ? "ILL_ILLOPN" : code == ILL_ILLOPC ? "ILL_ILLOPC" : "other";
    if (number == SIGTRAP)
        return code == TRAP_BRKPT ? "TRAP_BRKPT" : code == TRAP_TRACE ? "TRAP_TRACE" : "other";
    return "other";
}

static inline void fault_catch_all(void) {
    int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        check_catch(signals[i], fault_handler, 0);
}

// Prints what an access did. `base` is what the fault address is given relative to.
static inline void fault_report(const char *name, bool faulted, const void *base) {
    if (!faulted)
        check_line(name, "ok");
    else
        check_line(name, "SIG%s %s at %+ld, trap %lu, error 0x%lx", sigabbrev_np(fault_info.si_signo),
                   fault_code_name(fault_info.si_signo, fault_info.si_code),
                   (long)((intptr_t)fault_info.si_addr - (intptr_t)base), fault_trapno, fault_error);
}

#define FAULT(name, base, ...)                                                                                        \
    do {                                                                                                              \
        fault_happened = true;                                                                                        \
        if (sigsetjmp(fault_return, 1) == 0) {                                                                        \
            __VA_ARGS__;                                                                                              \
            fault_happened = false;                                                                                   \
        }                                                                                                             \
        fault_report(name, fault_happened, base);                                                                     \
    } while (0)

#define READ_BYTE(name, base, offset) FAULT(name, base, (void)*(volatile char *)((char *)(base) + (offset)))
#define WRITE_BYTE(name, base, offset) FAULT(name, base, *(volatile char *)((char *)(base) + (offset)) = 1)

#endif
