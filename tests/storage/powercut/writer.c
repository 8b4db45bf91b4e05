/* The patterns in which files are written. */
#define _GNU_SOURCE
#include "powercut.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct writer {
    u64 generation, thread, random;
    int folder;
    /* As much as a pattern that deletes may keep. */
    u64 limit_bytes;
    void (*pattern)(struct writer *);
};

static u64 any(struct writer *w, u64 below)
{
    w->random = mix(w->random);
    return w->random % below;
}

static void print(const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    /* A short line goes out by one write, so that those of several threads do not mix. */
    if (write(1, line, len) != len)
        exit(3);
}

static void note(struct writer *w, const char *what, u64 number, u64 value)
{
    print("log %lu %lu %s %lu %lu\n", w->generation, w->thread, what, number, value);
}

static _Noreturn void fail(struct writer *w, const char *what)
{
    print("error: generation %lu thread %lu: %.120s: %s\n", w->generation, w->thread, what, strerror(errno));
    exit(1);
}

#define TRY(w, call)                                                                                                      \
    ({                                                                                                                    \
        __typeof__(call) result_ = (call);                                                                                \
        if (result_ < 0)                                                                                                  \
            fail(w, #call);                                                                                               \
        result_;                                                                                                          \
    })

/* Writes contents; false if there is no space. */
static bool put_if_space(struct writer *w, int fd, u64 file, u64 version, u64 offset, u64 len)
{
    u8 buffer[16 << 10];
    while (len > 0) {
        u64 part = len < sizeof buffer ? len : sizeof buffer;
        fill(buffer, file, version, offset, part);
        ssize_t written = pwrite(fd, buffer, part, offset);
        if (written < 0 && errno == ENOSPC)
            return false;
        if (written <= 0)
            fail(w, "pwrite");
        offset += written;
        len -= written;
    }
    return true;
}

static void put(struct writer *w, int fd, u64 file, u64 version, u64 offset, u64 len)
{
    if (!put_if_space(w, fd, file, version, offset, len))
        fail(w, "pwrite");
}

static int make(struct writer *w, const char *name, int flags)
{
    return TRY(w, openat(w->folder, name, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0644));
}

/* Appends pieces of any length: fsync or fdatasync now and then, and every third file is open with O_DSYNC. */
static void append(struct writer *w)
{
    const u64 limit = 512 << 10;
    for (u64 number = 0;; number++) {
        char name[64];
        snprintf(name, sizeof name, "log%lu", number);
        bool is_synchronous = number % 3 == 2;
        int fd = make(w, name, O_APPEND | (is_synchronous ? O_DSYNC : 0));
        u64 file = file_number(w->generation, w->thread, number), size = 0;
        for (bool is_new = true; size < limit; is_new = false) {
            for (u64 pieces = 1 + any(w, 4); pieces > 0; pieces--) {
                u8 piece[6000];
                u64 len = 1 + any(w, sizeof piece);
                fill(piece, file, 1, size, len);
                if (TRY(w, write(fd, piece, len)) != (ssize_t)len)
                    fail(w, "a short write");
                size += len;
                if (is_synchronous && !is_new)
                    note(w, "size", number, size);
            }
            if (!is_synchronous)
                TRY(w, any(w, 2) ? fsync(fd) : fdatasync(fd));
            if (is_new)
                TRY(w, fsync(w->folder));
            note(w, "size", number, size);
        }
        TRY(w, close(fd));
    }
}

/* Replaces files whole: write another, fsync, rename, fsync of the folder. */
static void replace(struct writer *w)
{
    u64 versions[RENAMED] = {0};
    for (;;) {
        char name[64], other[64];
        u64 number = any(w, RENAMED), version = ++versions[number];
        u64 file = file_number(w->generation, w->thread, number);
        snprintf(name, sizeof name, "name%lu", number);
        snprintf(other, sizeof other, "name%lu.new", number);
        int fd = make(w, other, O_TRUNC);
        put(w, fd, file, version, 0, renamed_size(file, version));
        TRY(w, fsync(fd));
        TRY(w, close(fd));
        TRY(w, renameat(w->folder, other, w->folder, name));
        TRY(w, fsync(w->folder));
        note(w, "version", number, version);
    }
}

/* Overwrites slots of a file that was zeros, unwritten extents or a hole at first; by pwrite(2), or through a shared mapping. */
static void slots(struct writer *w, bool is_mapped)
{
    u64 file = file_number(w->generation, w->thread, 0), size = SLOTS * SLOT, versions[SLOTS] = {0};
    int fd = make(w, "slots", 0);
    switch (w->generation % 3) {
    case 0:
        put(w, fd, file, 0, 0, size);
        break;
    case 1:
        TRY(w, fallocate(fd, 0, 0, size));
        break;
    default:
        TRY(w, ftruncate(fd, size));
    }
    TRY(w, fsync(fd));
    TRY(w, fsync(w->folder));
    note(w, "slots", 0, size);
    u8 *map = NULL;
    if (is_mapped) {
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            fail(w, "mmap");
    }
    const u64 page = sysconf(_SC_PAGESIZE);
    for (;;) {
        u64 first = any(w, SLOTS), end = first + 1 + any(w, 6);
        if (end > SLOTS)
            end = SLOTS;
        for (u64 slot = first; slot < end; slot++) {
            versions[slot]++;
            if (is_mapped)
                fill(map + slot * SLOT, file, versions[slot], slot * SLOT, SLOT);
            else
                put(w, fd, file, versions[slot], slot * SLOT, SLOT);
        }
        if (!is_mapped) {
            TRY(w, fdatasync(fd));
        } else if (any(w, 4) == 0) {
            TRY(w, fsync(fd));
        } else {
            u64 start = first * SLOT / page * page;
            TRY(w, msync(map + start, end * SLOT - start, MS_SYNC));
        }
        for (u64 slot = first; slot < end; slot++)
            note(w, "slot", slot, versions[slot]);
    }
}

static void overwrite(struct writer *w)
{
    slots(w, false);
}

static void mapping(struct writer *w)
{
    slots(w, true);
}

/* Writes a new file to its end. What is acknowledged is noted; false if there is no space. */
static bool grow(struct writer *w, int fd, u64 number, u64 wanted)
{
    const u64 step = 16 << 10;
    u64 file = file_number(w->generation, w->thread, number);
    bool is_new = true;
    for (u64 size = 0; size < wanted;) {
        u64 part = wanted - size < step ? wanted - size : step;
        if (!put_if_space(w, fd, file, 1, size, part))
            return false;
        size += part;
        if (size < wanted && any(w, 4) != 0)
            continue;
        if (fsync(fd) < 0 || (is_new && fsync(w->folder) < 0)) {
            if (errno != ENOSPC)
                fail(w, "fsync");
            return false;
        }
        is_new = false;
        note(w, "grown", number, size);
    }
    return true;
}

static void shorten(struct writer *w, const char *name, u64 number, u64 size)
{
    note(w, "cutting", number, size);
    int fd = TRY(w, openat(w->folder, name, O_RDWR | O_CLOEXEC));
    TRY(w, ftruncate(fd, size));
    TRY(w, fsync(fd));
    TRY(w, close(fd));
    note(w, "cut", number, size);
}

static void delete(struct writer *w, const char *name, u64 number)
{
    note(w, "deleting", number, 0);
    TRY(w, unlinkat(w->folder, name, 0));
    if (any(w, 3) == 0) {
        TRY(w, fsync(w->folder));
        note(w, "deleted", number, 0);
    }
}

/* Files that come and go, so that blocks change their owners all the time. */
static void churn(struct writer *w, u64 limit_bytes)
{
    enum { LIVE_MAX = 2048 };
    struct {
        u64 number, size;
    } live[LIVE_MAX];
    u64 count = 0, live_bytes = 0;
    char name[64];
    for (u64 number = 0;; number++) {
        snprintf(name, sizeof name, "f%lu", number);
        u64 wanted = 1 + any(w, 160 << 10), target = count;
        int fd = openat(w->folder, name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 && errno != ENOSPC)
            fail(w, "openat");
        bool is_whole = fd >= 0 && grow(w, fd, number, wanted);
        if (fd >= 0)
            TRY(w, close(fd));
        if (is_whole) {
            live[count].number = number;
            live[count++].size = wanted;
            live_bytes += wanted;
            target = count;
        } else {
            /* Half of what is there makes space. */
            note(w, "full", number, 0);
            if (fd >= 0)
                delete(w, name, number);
            target = count / 2;
        }
        while (count > target || live_bytes > limit_bytes || count == LIVE_MAX) {
            u64 at = any(w, count);
            snprintf(name, sizeof name, "f%lu", live[at].number);
            if (any(w, 3) == 0)
                shorten(w, name, live[at].number, any(w, live[at].size));
            delete(w, name, live[at].number);
            live_bytes -= live[at].size;
            live[at] = live[--count];
        }
    }
}

static void reuse(struct writer *w)
{
    churn(w, w->limit_bytes);
}

/* The same, until there is no space, of which there is little from the beginning. */
static void full(struct writer *w)
{
    const u64 step = 1 << 20;
    struct statvfs space;
    TRY(w, fstatvfs(w->folder, &space));
    int fd = make(w, "ballast", 0);
    for (u64 at = 0; at + 2 * step < space.f_bavail * space.f_frsize; at += step) {
        if (fallocate(fd, 0, at, step) < 0) {
            if (errno != ENOSPC)
                fail(w, "fallocate");
            break;
        }
    }
    TRY(w, close(fd));
    churn(w, UINT64_MAX);
}

/* Allocates space and writes here and there: what is not written must read as zeros, whoever had the blocks before. */
static void preallocate(struct writer *w)
{
    enum { KEPT = 8, SLOTS_WRITTEN = 10 };
    for (u64 number = 0;; number++) {
        char name[64];
        u64 file = file_number(w->generation, w->thread, number);
        if (number >= KEPT) {
            snprintf(name, sizeof name, "f%lu", number - KEPT);
            delete(w, name, number - KEPT);
        }
        snprintf(name, sizeof name, "f%lu", number);
        int fd = make(w, name, 0);
        bool keeps_size = number % 2 == 1;
        TRY(w, fallocate(fd, keeps_size ? FALLOC_FL_KEEP_SIZE : 0, 0, PREALLOCATED));
        TRY(w, fsync(fd));
        TRY(w, fsync(w->folder));
        note(w, "allocated", number, keeps_size ? 0 : PREALLOCATED);
        for (int i = 0; i < SLOTS_WRITTEN; i++) {
            u64 slot = any(w, PREALLOCATED / PREALLOCATED_SLOT);
            put(w, fd, file, 1, slot * PREALLOCATED_SLOT, PREALLOCATED_SLOT);
            TRY(w, fdatasync(fd));
            note(w, "written", number, slot);
        }
        TRY(w, close(fd));
    }
}

/* Folders of small files, made durable each by itself, or all at once; old ones are removed. */
static void small(struct writer *w)
{
    enum { KEPT = 6 };
    for (u64 number = 0;; number++) {
        char name[64], target[TARGET_MAX + 1];
        int fds[SMALL_FILES];
        snprintf(name, sizeof name, "d%lu", number);
        TRY(w, mkdirat(w->folder, name, 0755));
        int folder = TRY(w, openat(w->folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        for (u64 i = 0; i < SMALL_FILES; i++) {
            u64 file = file_number(w->generation, w->thread, small_number(number, i));
            snprintf(name, sizeof name, "s%lu", i);
            fds[i] = TRY(w, openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
            put(w, fds[i], file, 1, 0, small_size(file));
        }
        small_target(target, file_number(w->generation, w->thread, number));
        TRY(w, symlinkat(target, folder, "link"));
        switch (number % 3) {
        case 0:
            for (int i = 0; i < SMALL_FILES; i++)
                TRY(w, fsync(fds[i]));
            TRY(w, fsync(folder));
            TRY(w, fsync(w->folder));
            break;
        case 1:
            TRY(w, syncfs(folder));
            break;
        default:
            sync();
        }
        note(w, "folder", number, 0);
        for (int i = 0; i < SMALL_FILES; i++)
            TRY(w, close(fds[i]));
        TRY(w, close(folder));
        if (number < KEPT)
            continue;
        note(w, "deleting", number - KEPT, 0);
        snprintf(name, sizeof name, "d%lu", number - KEPT);
        folder = TRY(w, openat(w->folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        TRY(w, unlinkat(folder, "link", 0));
        for (int i = 0; i < SMALL_FILES; i++) {
            snprintf(name, sizeof name, "s%d", i);
            TRY(w, unlinkat(folder, name, 0));
        }
        TRY(w, close(folder));
        snprintf(name, sizeof name, "d%lu", number - KEPT);
        TRY(w, unlinkat(w->folder, name, AT_REMOVEDIR));
        TRY(w, fsync(w->folder));
        note(w, "deleted", number - KEPT, 0);
    }
}

static const struct {
    const char *name;
    void (*pattern)(struct writer *);
} PATTERNS[] = {
    {"append", append},   {"replace", replace}, {"overwrite", overwrite},     {"mapping", mapping},
    {"reuse", reuse},     {"full", full},       {"preallocate", preallocate}, {"small", small},
};

static void *run_pattern(void *arg)
{
    struct writer *w = arg;
    w->pattern(w);
    return NULL;
}

static void remove_tree(struct writer *w, int parent, const char *name)
{
    int folder = TRY(w, openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR *entries = fdopendir(dup(folder));
    if (!entries)
        fail(w, "fdopendir");
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        struct stat stat;
        TRY(w, fstatat(folder, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW));
        if (S_ISDIR(stat.st_mode))
            remove_tree(w, folder, entry->d_name);
        else
            TRY(w, unlinkat(folder, entry->d_name, 0));
    }
    closedir(entries);
    TRY(w, close(folder));
    TRY(w, unlinkat(parent, name, AT_REMOVEDIR));
}

static void *tick(void *unused)
{
    for (;;) {
        print("tick\n");
        usleep(20000);
    }
    return unused;
}

void start_ticks(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, tick, NULL) != 0)
        exit(3);
}

_Noreturn void write_on(const char *root, u64 generation, u64 seed, char *patterns)
{
    enum { THREADS_MAX = 16 };
    static struct writer writers[THREADS_MAX];
    static char names[THREADS_MAX][32];
    struct writer first = {.generation = generation};
    int count = 0, deleters = 0;
    for (char *word = strtok(patterns, ","); word && count < THREADS_MAX; word = strtok(NULL, ","), count++) {
        struct writer *w = &writers[count];
        *w = (struct writer){.generation = generation, .thread = count, .random = mix(seed ^ generation << 8 ^ count)};
        for (size_t i = 0; i < sizeof PATTERNS / sizeof *PATTERNS; i++)
            if (strcmp(PATTERNS[i].name, word) == 0)
                w->pattern = PATTERNS[i].pattern;
        if (!w->pattern) {
            fprintf(stderr, "there is no pattern %s\n", word);
            exit(2);
        }
        snprintf(names[count], sizeof names[count], "%s", word);
        deleters += w->pattern == reuse;
    }
    int root_folder = TRY(&first, open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    char name[64];
    /* The last generation stays, so that what is old and untouched is seen to last; the one before goes. */
    if (generation > 2) {
        struct writer old = {.generation = generation - 2};
        snprintf(name, sizeof name, "g%lu", old.generation);
        note(&old, "removing", 0, 0);
        if (faccessat(root_folder, name, F_OK, 0) == 0)
            remove_tree(&old, root_folder, name);
        TRY(&old, fsync(root_folder));
        note(&old, "removed", 0, 0);
    }
    snprintf(name, sizeof name, "g%lu", generation);
    TRY(&first, mkdirat(root_folder, name, 0755));
    TRY(&first, fsync(root_folder));
    int folder = TRY(&first, openat(root_folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct statvfs space;
    TRY(&first, fstatvfs(root_folder, &space));
    for (int i = 0; i < count; i++) {
        struct writer *w = &writers[i];
        snprintf(name, sizeof name, "t%d", i);
        TRY(w, mkdirat(folder, name, 0755));
        w->folder = TRY(w, openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        /* Most of the space, so that a new file gets blocks that an old one had. */
        w->limit_bytes = deleters ? space.f_bavail * space.f_frsize / 2 / deleters : 0;
    }
    TRY(&first, fsync(folder));
    for (int i = 0; i < count; i++) {
        print("log %lu %d pattern-%s 0 0\n", generation, i, names[i]);
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_pattern, &writers[i]) != 0)
            fail(&writers[i], "pthread_create");
    }
    print("writing\n");
    for (;;)
        pause();
}
