// What the programs about files on a disk share. They run on ext4 on both sides.
#ifndef CREMA_TESTS_ABI_STORAGE_H
#define CREMA_TESTS_ABI_STORAGE_H

#include "check.h"

#define KIB 1024L
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

// FNV-1a, to tell contents apart in a few digits.
static inline uint32_t storage_hash(uint32_t hash, const void *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 16777619u;
    return hash;
}

#define STORAGE_HASH_START 2166136261u

// Size and contents of a file, as one number.
static inline uint32_t storage_hash_of(int fd) {
    static _Thread_local char part[64 * KIB];
    uint32_t hash = STORAGE_HASH_START;
    off_t at = 0;
    ssize_t length;
    while ((length = pread(fd, part, sizeof part, at)) > 0) {
        hash = storage_hash(hash, part, (size_t)length);
        at += length;
    }
    return storage_hash(hash, &at, sizeof at);
}

static inline long storage_size(int fd) {
    struct stat status;
    return fstat(fd, &status) == -1 ? -1 : (long)status.st_size;
}

static inline long storage_kib(int fd) {
    struct stat status;
    return fstat(fd, &status) == -1 ? -1 : (long)status.st_blocks / 2;
}

// A new file, open for reading and writing.
static inline int storage_file(const char *name) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    REQUIRE(fd >= 0);
    return fd;
}

// Writes `length` bytes of `value` at `at`.
static inline void storage_fill(int fd, char value, long length, long at) {
    static _Thread_local char part[64 * KIB];
    memset(part, value, sizeof part);
    while (length > 0) {
        long now = length < (long)sizeof part ? length : (long)sizeof part;
        REQUIRE(pwrite(fd, part, (size_t)now, at) == now);
        at += now;
        length -= now;
    }
}

// The runs of equal bytes in the first `length` bytes: "a*4096 0*100".
static inline void storage_runs(const char *name, int fd, long length) {
    static _Thread_local char bytes[1 << 20];
    char text[4000] = "";
    size_t used = 0;
    REQUIRE(length <= (long)sizeof bytes);
    ssize_t got = pread(fd, bytes, (size_t)length, 0);
    for (ssize_t at = 0, next; at < got && used < sizeof text - 40; at = next) {
        for (next = at + 1; next < got && bytes[next] == bytes[at]; next++) {
        }
        char value[8];
        snprintf(value, sizeof value, bytes[at] ? "%c" : "0", bytes[at]);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s*%zd", used ? " " : "", value, next - at);
    }
    check_line(name, "%s", text);
}

#endif
