/* What writer and checker have in common: contents of files, and sizes that follow from numbers. */
#ifndef POWERCUT_H
#define POWERCUT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t u64;
typedef uint8_t u8;

enum { CELL = 64, PATH = 512 };

/* SplitMix64's output function. */
static inline u64 mix(u64 x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

struct cell {
    u64 file, version, offset, filling[4], sum;
};

static inline u64 cell_sum(const struct cell *cell)
{
    u64 sum = mix(cell->file) ^ mix(cell->version + 1) ^ mix(cell->offset + 2);
    for (int i = 0; i < 4; i++)
        sum = mix(sum ^ cell->filling[i]);
    return sum;
}

/* The cell at an offset. Version 0 is zeros. */
static inline void make_cell(struct cell *cell, u64 file, u64 version, u64 offset)
{
    memset(cell, 0, sizeof *cell);
    if (version == 0)
        return;
    cell->file = file;
    cell->version = version;
    cell->offset = offset;
    u64 start = mix(file) ^ mix(version) ^ offset;
    for (int i = 0; i < 4; i++)
        cell->filling[i] = mix(start + i);
    cell->sum = cell_sum(cell);
}

/* A file's number, unlike any other's on the volume. */
static inline u64 file_number(u64 generation, u64 thread, u64 number)
{
    return generation << 48 | thread << 40 | number;
}

/* The bytes of a version of a file from an offset on. */
static inline void fill(u8 *to, u64 file, u64 version, u64 offset, u64 len)
{
    struct cell cell;
    for (u64 at = 0; at < len;) {
        u64 start = (offset + at) / CELL * CELL, skip = offset + at - start;
        u64 part = CELL - skip < len - at ? CELL - skip : len - at;
        make_cell(&cell, file, version, start);
        memcpy(to + at, (u8 *)&cell + skip, part);
        at += part;
    }
}

enum {
    SLOTS = 48,
    SLOT = 3072, /* whole sectors, but across pages */
    PREALLOCATED = 256 << 10,
    PREALLOCATED_SLOT = 2048,
    SMALL_FILES = 12,
    RENAMED = 4,
};

static inline u64 renamed_size(u64 file, u64 version)
{
    return 100 + mix(file ^ version << 20) % 40000;
}

/* Files of the pattern "small" are numbered through all folders. */
static inline u64 small_number(u64 folder, u64 which)
{
    return folder * SMALL_FILES + which;
}

static inline u64 small_size(u64 file)
{
    return mix(file) % 3000;
}

enum { TARGET_MAX = 200 };

/* What the symbolic link of such a folder says: now and then longer than what fits into an ext4 inode (59 bytes). */
static inline void small_target(char *to, u64 file)
{
    int len = 20 + mix(file + 7) % (TARGET_MAX - 20);
    for (int i = 0; i < len; i++)
        to[i] = 'a' + mix(file + i) % 26;
    to[len] = 0;
}

/* Checks what is in a folder against the log on standard input; says what is wrong, and whether nothing is. */
bool check(const char *root);

/* Has "tick" printed now and then. */
void start_ticks(void);

/* Writes until the end of the machine. */
_Noreturn void write_on(const char *root, u64 generation, u64 seed, char *patterns);

#endif
