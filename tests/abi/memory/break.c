// brk: growth, contents, shrinking, refusals. The raw call returns the break that holds afterwards.
#include "fault.h"

static char *raw_brk(void *address) { return (char *)syscall(SYS_brk, address); }

int main(void) {
    fault_catch_all();
    char *start = raw_brk(NULL);
    IS("there is a break", start != NULL);
    IS("asking twice is the same", raw_brk(NULL) == start);
    char *page = (char *)(((uintptr_t)start + PAGE - 1) & ~(PAGE - 1));
    IS("grow by four pages", raw_brk(page + 4 * PAGE) == page + 4 * PAGE);
    VALUE("new memory is zero", page[3 * PAGE]);
    memset(page, 1, 4 * PAGE);
    IS("grow by a byte", raw_brk(page + 4 * PAGE + 1) == page + 4 * PAGE + 1);
    WRITE_BYTE("the page of that byte", page, 4 * PAGE + 100);
    READ_BYTE("the page behind it", page, 5 * PAGE);
    IS("shrink", raw_brk(page + PAGE) == page + PAGE);
    READ_BYTE("what was cut", page, PAGE);
    VALUE("what stays", page[PAGE - 1]);
    IS("grow again", raw_brk(page + 2 * PAGE) == page + 2 * PAGE);
    VALUE("zero again", page[PAGE]);
    IS("below the start is refused", raw_brk((void *)PAGE) == page + 2 * PAGE);
    IS("far too much is refused", raw_brk((void *)0x7fffffffffffUL) == page + 2 * PAGE);
    IS("a kernel address is refused", raw_brk(KERNEL_ADDRESS) == page + 2 * PAGE);
    char *wall = mmap(page + 16 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    IS("a mapping above the break", wall == page + 16 * PAGE);
    IS("growth into a mapping is refused", raw_brk(page + 17 * PAGE) == page + 2 * PAGE);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    int heaps = 0;
    while (maps && fgets(line, sizeof line, maps))
        heaps += strstr(line, "[heap]") != NULL;
    VALUE("lines named [heap]", heaps);
    return 0;
}
