// Random operations on random files, the same for the same seed. What each answers goes into a hash, as do all contents and
// names in the end; a line for each few hundred operations tells where two systems part. With a seed as an argument, a line for each
// operation of that seed.
#include "storage.h"
#include <sys/uio.h>

enum { SEEDS = 6, OPERATIONS = 900, PER_LINE = 150, NAMES = 10, DIRECTORIES = 3, DESCRIPTORS = 6, LARGEST = 300000 };

static uint64_t state;

static uint32_t below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 20) % limit);
}

static int descriptors[DESCRIPTORS];
static uint32_t hash;
static char buffer[LARGEST];
// What the operation was, for who looks for a difference.
static uint32_t kind;
static char described[200];

static const char *directory(uint32_t number) {
    static const char *const all[DIRECTORIES] = {".", "one", "two"};
    return all[number];
}

// One of few names, so that operations meet.
static const char *name(void) {
    static char text[4][40];
    static int next;
    char *one = text[next++ % 4];
    snprintf(one, sizeof text[0], "%s/n%u", directory(below(DIRECTORIES)), below(NAMES));
    return one;
}

// An offset or a length: often at pages' and blocks' edges.
static long place(void) {
    switch (below(4)) {
    case 0: return (long)below(LARGEST / 4096) * 4096;
    case 1: return (long)below(LARGEST / 4096) * 4096 + (long)below(9) - 4 + 4;
    case 2: return (long)below(5000);
    default: return (long)below(LARGEST);
    }
}

static void note(long result) {
    struct {
        long result;
        int error;
    } answer = {result, result == -1 ? errno : 0};
    size_t used = strlen(described);
    snprintf(described + used, sizeof described - used, " -> %ld %s", result, check_errno_name(answer.error));
    hash = storage_hash(hash, &answer.result, sizeof answer.result);
    hash = storage_hash(hash, &answer.error, sizeof answer.error);
}

static int *slot(void) { return &descriptors[below(DESCRIPTORS)]; }

static void note_status(int fd) {
    struct stat status;
    if (fstat(fd, &status) == -1) {
        note(-1);
        return;
    }
    note(status.st_mode);
    note((long)status.st_nlink);
    if (S_ISREG(status.st_mode))
        note(status.st_size);
}

static void mapped(int fd) {
    struct stat status;
    if (fstat(fd, &status) == -1 || status.st_size == 0)
        return;
    size_t length = (size_t)status.st_size;
    char *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        note(-1);
        return;
    }
    for (uint32_t i = below(4); i > 0; i--) {
        size_t at = below((uint32_t)length), count = below(9000);
        if (count > length - at)
            count = length - at;
        memset(map + at, (int)('A' + below(26)), count);
    }
    hash = storage_hash(hash, map, length);
    if (below(2))
        note(msync(map, length, MS_SYNC));
    munmap(map, length);
}

static void operation(void) {
    static const int open_flags[] = {O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_CREAT | O_TRUNC, O_RDWR | O_CREAT | O_APPEND};
    int *fd = slot();
    long at = place();
    size_t length = (size_t)place();
    if (length > LARGEST)
        length = LARGEST;
    const char *from, *to;
    errno = 0;
    kind = below(26);
    snprintf(described, sizeof described, "kind %u, slot %d, at %ld, length %zu", kind, (int)(fd - descriptors), at, length);
    switch (kind) {
    case 0 ... 3:
        close(*fd);
        *fd = open(name(), open_flags[below(5)], 0644);
        note(*fd == -1 ? -1 : 0);
        break;
    case 4 ... 6:
        memset(buffer, (int)('a' + below(26)), length);
        note(pwrite(*fd, buffer, length, at));
        break;
    case 7:
        memset(buffer, (int)('a' + below(26)), length);
        note(write(*fd, buffer, length));
        break;
    case 8 ... 9: {
        ssize_t got = pread(*fd, buffer, length, at);
        note(got);
        if (got > 0)
            hash = storage_hash(hash, buffer, (size_t)got);
        break;
    }
    case 10: {
        ssize_t got = read(*fd, buffer, length);
        note(got);
        if (got > 0)
            hash = storage_hash(hash, buffer, (size_t)got);
        break;
    }
    case 11: note(lseek(*fd, at, below(2) ? SEEK_SET : SEEK_END)); break;
    case 12: note(ftruncate(*fd, at)); break;
    case 13:
        from = name();
        to = name();
        note(renameat2(AT_FDCWD, from, AT_FDCWD, to, below(4) == 0 ? RENAME_EXCHANGE : below(4) == 0 ? RENAME_NOREPLACE : 0));
        break;
    case 14:
        from = name();
        to = name();
        note(link(from, to));
        break;
    case 15: note(unlink(name())); break;
    case 16: note(below(2) ? mkdir(name(), 0755) : rmdir(name())); break;
    case 17: mapped(*fd); break;
    case 18: note(fallocate(*fd, 0, at, (off_t)length)); break;
    case 19: note(fallocate(*fd, FALLOC_FL_KEEP_SIZE, at, (off_t)length)); break;
    case 20: note(fallocate(*fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)length)); break;
    case 21: note(fallocate(*fd, FALLOC_FL_ZERO_RANGE | (below(2) ? FALLOC_FL_KEEP_SIZE : 0), at, (off_t)length)); break;
    case 22: note(below(2) ? fsync(*fd) : fdatasync(*fd)); break;
    case 23:
        posix_fadvise(*fd, 0, 0, POSIX_FADV_DONTNEED);
        note_status(*fd);
        break;
    case 24: {
        int *other = slot();
        off_t in = at, out = place();
        long total = 0;
        ssize_t now = 0;
        while ((size_t)total < length && (now = copy_file_range(*fd, &in, *other, &out, length - (size_t)total, 0)) > 0)
            total += now;
        note((size_t)total < length && now == -1 && total == 0 ? -1 : total);
        break;
    }
    default: {
        struct iovec parts[2] = {{buffer, length / 3}, {buffer + length / 3, length - length / 3}};
        memset(buffer, (int)('a' + below(26)), length);
        note(pwritev2(*fd, parts, 2, at, below(4) == 0 ? RWF_DSYNC : 0));
        break;
    }
    }
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// All names below, in order, with sizes, link counts and contents.
static void note_tree(const char *path) {
    DIR *open_directory = opendir(path);
    REQUIRE(open_directory != NULL);
    char *names[100];
    size_t count = 0;
    struct dirent *entry;
    while ((entry = readdir(open_directory)) != NULL && count < 100)
        if (entry->d_name[0] != '.')
            REQUIRE(asprintf(&names[count++], "%s/%s", path, entry->d_name) > 0);
    closedir(open_directory);
    qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++) {
        struct stat status;
        REQUIRE(lstat(names[i], &status) == 0);
        hash = storage_hash(hash, names[i], strlen(names[i]));
        note(status.st_mode);
        note((long)status.st_nlink);
        if (S_ISDIR(status.st_mode)) {
            note_tree(names[i]);
        } else {
            int fd = open(names[i], O_RDONLY);
            note(storage_hash_of(fd));
            close(fd);
        }
        free(names[i]);
    }
}

int main(int argument_count, char **arguments) {
    uint64_t only = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 0;
    check_enter_scratch();
    for (uint64_t seed = only ? only : 1; seed <= (only ? only : SEEDS); seed++) {
        char folder[20];
        snprintf(folder, sizeof folder, "seed%d", (int)seed);
        REQUIRE(mkdir(folder, 0755) == 0 && chdir(folder) == 0);
        REQUIRE(mkdir("one", 0755) == 0 && mkdir("two", 0755) == 0);
        for (int i = 0; i < DESCRIPTORS; i++)
            descriptors[i] = -1;
        state = seed * 0x9e3779b97f4a7c15u;
        hash = STORAGE_HASH_START;
        for (int number = 1; number <= OPERATIONS; number++) {
            operation();
            if (only) {
                char line[60];
                snprintf(line, sizeof line, "%d", number);
                check_line(line, "%s %08x", described, hash);
            } else if (number % PER_LINE == 0) {
                char line[60];
                snprintf(line, sizeof line, "seed %d, %d operations", (int)seed, number);
                check_line(line, "%08x", hash);
            }
        }
        for (int i = 0; i < DESCRIPTORS; i++)
            note_status(descriptors[i]);
        note_tree(".");
        char line[60];
        snprintf(line, sizeof line, "seed %d, all files", (int)seed);
        check_line(line, "%08x", hash);
        for (int i = 0; i < DESCRIPTORS; i++)
            close(descriptors[i]);
        REQUIRE(chdir("..") == 0);
    }
    return 0;
}
