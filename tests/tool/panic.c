/*
 * Breaks the kernel, to show what the tool tells of a kernel that broke: puts ud2 (SDM vol. 2, UD) in place of the
 * kernel function at the address in argv[1], and makes the system call that runs into it.
 *
 * There is no wall between a program and the kernel here (README.md, "What does not work yet"): both are in ring 0.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* CR0.WP: supervisor code may not write to read-only pages (SDM vol. 3, 2.5). */
#define WRITE_PROTECT (1ul << 16)

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    volatile uint16_t *function = (volatile uint16_t *)strtoul(argv[1], NULL, 16);
    puts("about to break the kernel");
    fflush(stdout);
    uint64_t cr0;
    /* With interrupts masked, so that this CPU's protection is off for no other thread. */
    __asm__ volatile("cli; mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 & ~WRITE_PROTECT) : "memory");
    *function = 0x0b0f;
    __asm__ volatile("mov %0, %%cr0; sti" : : "r"(cr0) : "memory");
    syscall(SYS_close_range, 1000, 2000, 0);
    puts("the kernel does not mind");
    return 1;
}
