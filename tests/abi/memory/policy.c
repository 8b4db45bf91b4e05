// Huge pages that are not there, and memory policies on a machine with one node: what a JVM asks with
// -XX:+UseLargePages and -XX:+UseNUMA.
#include "check.h"
#include <linux/mempolicy.h>

int main(void) {
    CALL_OK("map of huge pages, none reserved",
            mmap(NULL, 1UL << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
    char *memory = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    CALL("advise huge pages", madvise(memory, 8 << 20, MADV_HUGEPAGE));
    memset(memory, 3, 8 << 20);
    long sum = 0;
    for (size_t i = 0; i < 8 << 20; i += PAGE)
        sum += memory[i];
    VALUE("contents", sum);
    CALL("dontneed of a part", madvise(memory + (1 << 20), PAGE, MADV_DONTNEED));
    check_line("it is zero, and its neighbours are not", "%d %d %d", memory[(1 << 20) - 1], memory[1 << 20], memory[(1 << 20) + PAGE]);
    CALL("protect a part", mprotect(memory + (3 << 20), PAGE, PROT_READ));
    memory[(3 << 20) + PAGE] = 4;
    check_line("contents around it", "%d %d", memory[3 << 20], memory[(3 << 20) + PAGE]);
    CALL("unmap a part", munmap(memory + (5 << 20), PAGE));
    check_line("contents around it", "%d %d", memory[(5 << 20) - 1], memory[(5 << 20) + PAGE]);
    CALL("advise no huge pages", madvise(memory, 1 << 20, MADV_NOHUGEPAGE));

    int mode = -1;
    // Room for 1024 nodes, which is what a kernel may be built for.
    unsigned long nodes[16] = {99};
    CALL("get_mempolicy", syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
    VALUE("default policy", mode);
    CALL("allowed nodes", syscall(SYS_get_mempolicy, NULL, nodes, 1024, NULL, 4));
    HEX("node 0", nodes[0] & 1);
    CALL("node of an address", syscall(SYS_get_mempolicy, &mode, NULL, 0, memory, 3));
    VALUE("node", mode);
    CALL("get_mempolicy, unknown flag", syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 64));
    CALL("get_mempolicy, bad pointer", syscall(SYS_get_mempolicy, UNMAPPED, NULL, 0, NULL, 0));
    CALL("set_mempolicy, default", syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0));
    CALL("set_mempolicy, unknown", syscall(SYS_set_mempolicy, 99, NULL, 0));
    nodes[0] = 1;
    CALL("set_mempolicy, bind to node 0", syscall(SYS_set_mempolicy, MPOL_BIND, nodes, 64));
    CALL("get_mempolicy", syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
    VALUE("policy", mode);
    CALL("set_mempolicy, back", syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0));
    CALL("mbind to node 0", syscall(SYS_mbind, memory, PAGE, MPOL_PREFERRED, nodes, 64, 0));
    nodes[0] = 1UL << 50;
    CALL("mbind to a node that does not exist", syscall(SYS_mbind, memory, PAGE, MPOL_BIND, nodes, 64, 0));
    CALL("mbind, unaligned", syscall(SYS_mbind, memory + 1, PAGE, MPOL_DEFAULT, NULL, 0, 0));
    return 0;
}
