// mprotect: faults that follow it, partial failure over holes, executable memory, and its refusals.
#include "fault.h"

int main(void) {
    fault_catch_all();
    char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    memset(memory, 3, 8 * PAGE);
    CALL("read-only", mprotect(memory, 2 * PAGE, PROT_READ));
    READ_BYTE("read of read-only", memory, 10);
    WRITE_BYTE("write of read-only", memory, 10);
    WRITE_BYTE("write of read-only last byte", memory, 2 * PAGE - 1);
    WRITE_BYTE("write behind it", memory, 2 * PAGE);
    CALL("none", mprotect(memory, PAGE, PROT_NONE));
    READ_BYTE("read of none", memory, 0);
    WRITE_BYTE("write of none", memory, 0);
    CALL("all again", mprotect(memory, 2 * PAGE, PROT_READ | PROT_WRITE));
    VALUE("contents survive", memory[5]);
    WRITE_BYTE("write again", memory, 10);

    CALL("unaligned", mprotect(memory + 1, PAGE, PROT_READ));
    CALL("length 0", mprotect(memory, 0, PROT_NONE));
    READ_BYTE("length 0 changed nothing", memory, 0);
    CALL("length rounds up", mprotect(memory, 1, PROT_NONE));
    READ_BYTE("whole page", memory, PAGE - 1);
    CALL("unknown protection bit", mprotect(memory, PAGE, 0x100));
    CALL("grows down and up", mprotect(memory, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
    CALL("grows down on plain memory", mprotect(memory, PAGE, PROT_READ | PROT_GROWSDOWN));
    CALL("length wraps", mprotect(memory, ~0UL - PAGE + 1, PROT_READ));
    CALL("unmapped", mprotect((void *)0x10000000000UL, PAGE, PROT_READ));
    CALL("kernel address", mprotect(KERNEL_ADDRESS, PAGE, PROT_READ));
    REQUIRE(mprotect(memory, 8 * PAGE, PROT_READ | PROT_WRITE) == 0);
    REQUIRE(munmap(memory + 4 * PAGE, PAGE) == 0);
    CALL("over a hole", mprotect(memory + 3 * PAGE, 3 * PAGE, PROT_READ));
    WRITE_BYTE("before the hole it was done", memory, 3 * PAGE);
    WRITE_BYTE("behind the hole it was not", memory, 5 * PAGE);

    // mov $42, %eax; ret
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    char *program = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(program, code, sizeof code);
    int (*volatile function)(void) = (int (*)(void))(uintptr_t)program;
    FAULT("execute without permission", program, function());
    CALL("executable", mprotect(program, PAGE, PROT_READ | PROT_EXEC));
    VALUE("execute", function());
    WRITE_BYTE("write of code", program, 0);
    CALL("writable code", mprotect(program, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    program[1] = 43;
    VALUE("execute changed code", function());
    CALL("not executable", mprotect(program, PAGE, PROT_READ));
    FAULT("execute after withdrawal", program, function());
    CALL("none", mprotect(program, PAGE, PROT_NONE));
    FAULT("execute of none", program, function());
    FAULT("execute unmapped", UNMAPPED, ((void (*)(void))(uintptr_t)UNMAPPED)());

    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    char *shared = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, zero, 0);
    CALL("private map of read-only descriptor may become writable", mprotect(shared, PAGE, PROT_READ | PROT_WRITE));
    char path[] = "/proc/self/exe";
    int self = open(path, O_RDONLY | O_CLOEXEC);
    char *file = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self, 0);
    REQUIRE(file != MAP_FAILED);
    CALL("shared map of read-only descriptor may not", mprotect(file, PAGE, PROT_READ | PROT_WRITE));
    READ_BYTE("it still reads", file, 0);
    return 0;
}
