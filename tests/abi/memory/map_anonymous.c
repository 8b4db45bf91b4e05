// mmap and munmap of anonymous memory: contents, alignment, and every refusal of mmap(2).
#include "fault.h"

static bool all_bytes(const unsigned char *memory, size_t length, unsigned char value) {
    for (size_t i = 0; i < length; i++)
        if (memory[i] != value)
            return false;
    return true;
}

int main(void) {
    fault_catch_all();
    unsigned char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    IS("page aligned", (uintptr_t)memory % PAGE == 0);
    IS("below the canonical limit", (uintptr_t)memory < 0x800000000000UL);
    IS("new memory is zero", all_bytes(memory, 8 * PAGE, 0));
    memset(memory, 0xa5, 8 * PAGE);
    IS("written memory keeps", all_bytes(memory, 8 * PAGE, 0xa5));
    CALL("munmap of pages 2 and 3", munmap(memory + 2 * PAGE, 2 * PAGE));
    READ_BYTE("page 1 remains", memory, PAGE + 1);
    READ_BYTE("page 2 is gone", memory, 2 * PAGE);
    WRITE_BYTE("page 3 is gone", memory, 4 * PAGE - 1);
    WRITE_BYTE("page 4 remains", memory, 4 * PAGE);
    CALL("munmap of a hole", munmap(memory + 2 * PAGE, 2 * PAGE));
    CALL("munmap across the hole", munmap(memory + PAGE, 4 * PAGE));
    READ_BYTE("page 1 is gone", memory, PAGE);
    READ_BYTE("page 0 remains", memory, 0);
    READ_BYTE("page 5 remains", memory, 5 * PAGE);
    CALL("munmap unaligned address", munmap(memory + 1, PAGE));
    CALL("munmap length 0", munmap(memory, 0));
    CALL("munmap length rounds up", munmap(memory, 1));
    READ_BYTE("page 0 is gone", memory, 0);
    CALL("munmap past the end of user space", munmap((void *)0x7ffffffff000UL, 2 * PAGE));
    CALL("munmap wraps around", munmap(memory, ~0UL - PAGE + 1));
    CALL("munmap kernel address", munmap(KERNEL_ADDRESS, PAGE));
    CALL("munmap rest", munmap(memory + 5 * PAGE, 3 * PAGE));

    CALL_OK("length 0", mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CALL_OK("neither shared nor private", mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
    CALL_OK("length of all the address space",
            mmap(NULL, 0x800000000000UL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    CALL_OK("length overflows", mmap(NULL, ~0UL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CALL_OK("bad descriptor without anonymous", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
    CALL_OK("closed descriptor", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 1000, 0));
    CALL_OK("descriptor is ignored with anonymous",
            mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 1000, 0));
    CALL_OK("fixed unaligned", mmap((void *)0x100000001UL, PAGE, PROT_READ,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    CALL_OK("fixed kernel address", mmap(KERNEL_ADDRESS, PAGE, PROT_READ,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    CALL_OK("fixed across the limit", mmap((void *)0x7ffffffff000UL, 2 * PAGE, PROT_READ,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    CALL("unaligned offset by the raw call",
         syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1));

    void *hint = (void *)0x123456789000UL;
    void *hinted = mmap(hint, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IS("a free hint is honoured", hinted == hint);
    void *second = mmap(hint, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IS("a taken hint moves", second != MAP_FAILED && second != hint);
    void *rounded = mmap((char *)hint + 3 * PAGE + 123, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IS("an unaligned hint is rounded", rounded == (char *)hint + 3 * PAGE);

    memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    IS("populated memory is zero", memory != MAP_FAILED && all_bytes(memory, 1 << 20, 0));
    unsigned char resident[256];
    CALL("mincore of populated", mincore(memory, 1 << 20, resident));
    IS("populated memory is resident", all_bytes(resident, 256, 1));

    memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    READ_BYTE("shared anonymous reads", memory, 100);
    WRITE_BYTE("shared anonymous read-only write", memory, 100);
    memory = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    READ_BYTE("no access read", memory, 17);
    WRITE_BYTE("no access write", memory, 18);
    memory = mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WRITE_BYTE("write-only write", memory, 5);
    READ_BYTE("write-only reads on x86", memory, 5);
    return 0;
}
