// The main thread's stack grows on demand, far below what is touched, up to its limit; memory locks; shared
// memory between threads under changing protection.
#include "fault.h"
#include <sys/resource.h>

static char alternate[64 * 1024];

__attribute__((noinline)) static long touch_stack(size_t bytes) {
    volatile char *area = __builtin_alloca(bytes);
    long sum = 0;
    // From the far end first: there is no order in which a program must touch its stack.
    for (size_t i = 0; i < bytes; i += PAGE)
        area[i] = 1;
    for (size_t i = 0; i < bytes; i += PAGE)
        sum += area[i];
    return sum;
}

static bool stack_line(unsigned long *start, unsigned long *end) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool found = false;
    while (maps && !found && fgets(line, sizeof line, maps))
        found = strstr(line, "[stack]") && sscanf(line, "%lx-%lx", start, end) == 2;
    if (maps)
        fclose(maps);
    return found;
}

int main(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    REQUIRE(sigaltstack(&stack, NULL) == 0);
    check_catch(SIGSEGV, fault_handler, SA_ONSTACK);
    struct rlimit limit = {8 << 20, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_STACK, &limit) == 0);
    unsigned long start, end, start_later, end_later;
    IS("/proc/self/maps has the stack", stack_line(&start, &end));
    IS("a local lies in it", (unsigned long)&limit > start && (unsigned long)&limit < end);
    VALUE("pages of 6 MiB of stack", touch_stack(6 << 20));
    REQUIRE(stack_line(&start_later, &end_later));
    IS("the mapping grew downwards", start_later < start && end_later == end);
    IS("by what was touched", start - start_later >= (5 << 20));
    FAULT("beyond the limit", fault_info.si_addr, touch_stack(9 << 20));
    limit.rlim_cur = 16 << 20;
    REQUIRE(setrlimit(RLIMIT_STACK, &limit) == 0);
    VALUE("within a raised limit", touch_stack(12 << 20));
    return 0;
}
