// mincore: which pages are resident, and its refusals.
#include "fault.h"

static void print_pages(const char *name, void *memory, size_t pages) {
    unsigned char state[64];
    char text[65] = "";
    memset(state, 0xee, sizeof state);
    if (mincore(memory, pages * PAGE, state) == -1) {
        check_line(name, "-1 %s", check_errno_name(errno));
        return;
    }
    for (size_t i = 0; i < pages; i++)
        text[i] = (char)('0' + (state[i] & 1));
    check_line(name, "%s%s", text, state[pages] == 0xee ? "" : " and wrote past the end");
}

int main(void) {
    char *memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    // Huge pages would make neighbours resident too.
    madvise(memory, 16 * PAGE, MADV_NOHUGEPAGE);
    print_pages("untouched", memory, 16);
    memory[0] = 1;
    memory[5 * PAGE + 7] = 1;
    memory[15 * PAGE] = 1;
    print_pages("touched 0, 5 and 15", memory, 16);
    (void)*(volatile char *)(memory + 8 * PAGE);
    unsigned char state;
    CALL("one page", mincore(memory + 5 * PAGE, PAGE, &state));
    VALUE("is resident", state & 1);
    CALL("length rounds up", mincore(memory + 5 * PAGE, 1, &state));
    CALL("length 0", mincore(memory, 0, &state));
    CALL("unaligned", mincore(memory + 1, PAGE, &state));
    CALL("bad vector", mincore(memory, PAGE, UNMAPPED));
    CALL("kernel vector", mincore(memory, PAGE, KERNEL_ADDRESS));
    CALL("unmapped", mincore((void *)0x10000000000UL, PAGE, &state));
    CALL("kernel address", mincore(KERNEL_ADDRESS, PAGE, &state));
    REQUIRE(munmap(memory + 6 * PAGE, PAGE) == 0);
    print_pages("over a hole", memory, 16);
    REQUIRE(madvise(memory, 6 * PAGE, MADV_DONTNEED) == 0);
    print_pages("after dontneed", memory, 6);
    return 0;
}
