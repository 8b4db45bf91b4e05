// A plugin for QEMU's TCG that counts what the guest's processors do: instructions, and what a hypervisor would have to
// be entered for. `crema bench` loads it for what it counts.
//
//     -plugin net-count.so,counts=PATH
//
// The file is a shared mapping of `struct counts`, which the tool reads while the machine runs. A program in the guest can have a place of its
// own noted: where it comes to the instruction MARK, all counts so far are written down. That is a NOP of eight bytes (Intel SDM volume 2, NOP:
// 0F 1F 84 00 and four bytes that mean nothing to a processor), of which the last four are "Crm" and a number. The declarations are those
// of QEMU's documentation (docs/devel/tcg-plugins.rst), as Debian does not ship the header.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { CPUS = 64, MARKS = 1024 };

static const uint8_t MARK[] = {0x0f, 0x1f, 0x84, 0x00, 'C', 'r', 'm'};

// The tool knows this layout: cli/src/command/bench/counter.rs.
struct counts {
    struct cpu {
        uint64_t instructions, device_accesses, msr_writes, halts, unused[4];
    } cpus[CPUS];
    uint64_t mark_count, padding[7];
    // Sums over all CPUs.
    struct mark {
        uint64_t instructions, device_accesses, msr_writes, halts, number, unused[3];
    } marks[MARKS];
};

static struct counts *counts;

static void count_block(unsigned cpu, void *instructions) { counts->cpus[cpu % CPUS].instructions += (uintptr_t)instructions; }

static void count_port(unsigned cpu, void *unused) {
    (void)unused;
    counts->cpus[cpu % CPUS].device_accesses++;
}

static void count_msr(unsigned cpu, void *unused) {
    (void)unused;
    counts->cpus[cpu % CPUS].msr_writes++;
}

static void count_halt(unsigned cpu, void *unused) {
    (void)unused;
    counts->cpus[cpu % CPUS].halts++;
}

static void note_mark(unsigned cpu, void *number) {
    (void)cpu;
    uint64_t place = __atomic_fetch_add(&counts->mark_count, 1, __ATOMIC_RELAXED);
    if (place >= MARKS)
        return;
    struct mark *mark = &counts->marks[place];
    mark->number = (uintptr_t)number;
    for (int i = 0; i < CPUS; i++) {
        mark->instructions += counts->cpus[i].instructions;
        mark->device_accesses += counts->cpus[i].device_accesses;
        mark->msr_writes += counts->cpus[i].msr_writes;
        mark->halts += counts->cpus[i].halts;
    }
}

static void look_at_access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused) {
    (void)unused;
    struct qemu_plugin_hwaddr *physical = qemu_plugin_get_hwaddr(info, address);
    if (physical && qemu_plugin_hwaddr_is_io(physical))
        counts->cpus[cpu % CPUS].device_accesses++;
}

// Intel SDM volume 2: HLT, WRMSR, IN, OUT, INS, OUTS; with one prefix at most, as compilers and kernels write them.
static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, count_block, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)count);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_mem_cb(instruction, look_at_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
        const uint8_t *bytes = qemu_plugin_insn_data(instruction);
        size_t size = qemu_plugin_insn_size(instruction);
        if (size == sizeof MARK + 1 && memcmp(bytes, MARK, sizeof MARK) == 0) {
            void *number = (void *)(uintptr_t)bytes[sizeof MARK];
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, note_mark, QEMU_PLUGIN_CB_NO_REGS, number);
        }
        if (size > 1 && (bytes[0] == 0x66 || bytes[0] == 0xf3))
            bytes++, size--;
        if (bytes[0] == 0xf4)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, count_halt, QEMU_PLUGIN_CB_NO_REGS, NULL);
        else if (size == 2 && bytes[0] == 0x0f && bytes[1] == 0x30)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, count_msr, QEMU_PLUGIN_CB_NO_REGS, NULL);
        else if ((bytes[0] & 0xf4) == 0xe4 || (bytes[0] & 0xfc) == 0x6c)
            // E4-E7 and EC-EF, but not E8-EB; 6C-6F.
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, count_port, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int count,
                                                               char **arguments) {
    (void)info;
    if (count != 1 || strncmp(arguments[0], "counts=", 7) != 0) {
        fputs("net-count: counts=PATH is needed\n", stderr);
        return -1;
    }
    int fd = open(arguments[0] + 7, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1 || ftruncate(fd, sizeof *counts) == -1) {
        perror("net-count");
        return -1;
    }
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (counts == MAP_FAILED) {
        perror("net-count");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return 0;
}
