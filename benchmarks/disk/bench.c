// What files on a disk cost: the same binary runs in Crema and in a Linux guest (`crema bench disk`), in a directory on an
// ext4 volume of its own.
//
// One line per measurement: `NAME UNIT MEDIAN P25 P75 MIN SAMPLES`, or `NAME UNIT VALUE`. In the end it rests for a moment, so that the host can
// count the flushes that reached the disk; `syncs work N` says how many calls of fsync, fdatasync and msync there were, and `lone_syncs work N`
// how many of them were made while no other thread wrote: each of those needs a flush of its own.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define MIB (1024L * 1024)
#define FILE_BYTES (32 * MIB)
#define MAX_SAMPLES 2000

static double samples[MAX_SAMPLES];
static size_t sample_count;
static atomic_long syncs;
static long lone_syncs;
static char block[MIB] __attribute__((aligned(4096)));

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void require(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sample(double value) {
    if (sample_count < MAX_SAMPLES)
        samples[sample_count++] = value;
}

static double quantile(double share) { return samples[(size_t)((double)(sample_count - 1) * share)]; }

static void report(const char *name, const char *unit) {
    qsort(samples, sample_count, sizeof *samples, compare);
    printf("%s %s %.1f %.1f %.1f %.1f %zu\n", name, unit, quantile(0.5), quantile(0.25), quantile(0.75), samples[0], sample_count);
    fflush(stdout);
}

// Times that so many of a hundred operations do not exceed, in lines of their own.
static void report_latency(const char *name) {
    static const int percents[] = {50, 90, 99};
    qsort(samples, sample_count, sizeof *samples, compare);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        printf("%s_p%d us %.1f\n", name, percents[i], quantile(percents[i] / 100.0));
    fflush(stdout);
    sample_count = 0;
}

static void report_rate(const char *name, const char *unit) {
    report(name, unit);
    sample_count = 0;
}

static uint32_t random_below(uint32_t limit) {
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 20) % limit);
}

static int opened(const char *name, int flags) {
    int fd = open(name, flags | O_CREAT | O_CLOEXEC, 0644);
    require(fd >= 0, name);
    return fd;
}

static void synced(int fd) {
    require(fsync(fd) == 0, "fsync");
    atomic_fetch_add(&syncs, 1);
}

static void data_synced(int fd) {
    require(fdatasync(fd) == 0, "fdatasync");
    atomic_fetch_add(&syncs, 1);
}

static void streams(void) {
    memset(block, 'b', sizeof block);
    for (int round = 0; round < 5; round++) {
        int fd = opened("stream", O_RDWR | O_TRUNC);
        uint64_t start = now_ns();
        for (long at = 0; at < FILE_BYTES; at += MIB)
            require(pwrite(fd, block, MIB, at) == MIB, "write");
        data_synced(fd);
        sample((double)FILE_BYTES * 1000 / (double)(now_ns() - start));
        close(fd);
    }
    report_rate("sequential_write", "MB/s");
    int fd = opened("stream", O_RDWR);
    for (int round = 0; round < 5; round++) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        uint64_t start = now_ns();
        for (long at = 0; at < FILE_BYTES; at += 128 * 1024)
            require(pread(fd, block, 128 * 1024, at) == 128 * 1024, "read");
        sample((double)FILE_BYTES * 1000 / (double)(now_ns() - start));
    }
    report_rate("sequential_read", "MB/s");
    int direct = opened("stream", O_RDWR | O_DIRECT);
    for (int round = 0; round < 500; round++) {
        uint64_t start = now_ns();
        require(pread(direct, block, PAGE, (long)random_below(FILE_BYTES / PAGE) * PAGE) == PAGE, "direct read");
        sample((double)(now_ns() - start) / 1000);
    }
    report_latency("random_read_4k_direct");
    for (int round = 0; round < 500; round++) {
        uint64_t start = now_ns();
        require(pwrite(direct, block, PAGE, (long)random_below(FILE_BYTES / PAGE) * PAGE) == PAGE, "direct write");
        sample((double)(now_ns() - start) / 1000);
    }
    report_latency("random_write_4k_direct");
    close(direct);
    for (int round = 0; round < 3; round++) {
        uint64_t start = now_ns();
        for (int i = 0; i < 1000; i++)
            require(pwrite(fd, block, PAGE, (long)random_below(FILE_BYTES / PAGE) * PAGE) == PAGE, "random write");
        data_synced(fd);
        sample(1000.0 * 1e9 / (double)(now_ns() - start));
    }
    report_rate("random_write_4k_then_fdatasync", "1/s");
    // All of it is in memory.
    for (long at = 0; at < FILE_BYTES; at += MIB)
        require(pread(fd, block, MIB, at) == MIB, "read");
    for (int round = 0; round < 31; round++) {
        uint64_t start = now_ns();
        for (int i = 0; i < 1000; i++)
            require(pread(fd, block, PAGE, (long)random_below(FILE_BYTES / PAGE) * PAGE) == PAGE, "cached read");
        sample((double)(now_ns() - start) / 1000);
    }
    report_rate("cached_read_4k", "ns");
    for (int round = 0; round < 9; round++) {
        char *map = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
        require(map != MAP_FAILED, "mmap");
        long sum = 0;
        uint64_t start = now_ns();
        for (long at = 0; at < FILE_BYTES; at += PAGE)
            sum += *(volatile char *)(map + at);
        sample((double)(now_ns() - start) / ((double)FILE_BYTES / PAGE));
        require(sum != 0, "sum");
        munmap(map, FILE_BYTES);
    }
    report_rate("mapped_read_per_page", "ns");
    for (int round = 0; round < 5; round++) {
        char *map = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        require(map != MAP_FAILED, "mmap");
        uint64_t start = now_ns();
        for (long at = 0; at < 8 * MIB; at += PAGE)
            map[at] = (char)round;
        require(msync(map, 8 * MIB, MS_SYNC) == 0, "msync");
        atomic_fetch_add(&syncs, 1);
        sample((double)(now_ns() - start) / (8.0 * MIB / PAGE));
        munmap(map, 8 * MIB);
    }
    report_rate("mapped_write_and_msync_per_page", "ns");
    close(fd);
}

static void latencies(void) {
    int fd = opened("log", O_RDWR | O_TRUNC);
    for (int round = 0; round < 200; round++) {
        uint64_t start = now_ns();
        require(write(fd, block, PAGE) == PAGE, "append");
        synced(fd);
        sample((double)(now_ns() - start) / 1000);
    }
    report_latency("append_4k_fsync");
    for (int round = 0; round < 200; round++) {
        uint64_t start = now_ns();
        require(pwrite(fd, block, PAGE, (long)random_below(200) * PAGE) == PAGE, "overwrite");
        data_synced(fd);
        sample((double)(now_ns() - start) / 1000);
    }
    report_latency("overwrite_4k_fdatasync");
    close(fd);
    for (int round = 0; round < 100; round++) {
        uint64_t start = now_ns();
        fd = opened("new", O_RDWR | O_TRUNC);
        require(write(fd, block, PAGE) == PAGE, "write");
        synced(fd);
        close(fd);
        require(rename("new", "current") == 0, "rename");
        int directory = open(".", O_RDONLY | O_DIRECTORY);
        synced(directory);
        close(directory);
        sample((double)(now_ns() - start) / 1000);
    }
    report_latency("replace_file_durably");
}

struct committer {
    int number, appends;
};

static void *commit(void *argument) {
    const struct committer *committer = argument;
    char name[40];
    snprintf(name, sizeof name, "writer-%d", committer->number);
    int fd = opened(name, O_RDWR | O_TRUNC | O_APPEND);
    for (int i = 0; i < committer->appends; i++) {
        require(write(fd, block, 1024) == 1024, "append");
        data_synced(fd);
    }
    close(fd);
    unlink(name);
    return NULL;
}

// So many threads append so many times each, to files of their own. The work is the same however long it takes.
static void group_commit(int writers, int appends) {
    pthread_t threads[64];
    struct committer committers[64];
    uint64_t start = now_ns();
    for (int i = 0; i < writers; i++) {
        committers[i] = (struct committer){i, appends};
        require(pthread_create(&threads[i], NULL, commit, &committers[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < writers; i++)
        pthread_join(threads[i], NULL);
    sample((double)writers * appends * 1e9 / (double)(now_ns() - start));
    char name[60];
    snprintf(name, sizeof name, "fdatasync_by_%d_writers", writers);
    report_rate(name, "1/s");
}

static void metadata(void) {
    enum { FILES = 200 };
    char name[40], other[40];
    for (int round = 0; round < 3; round++) {
        uint64_t start = now_ns();
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof name, "many-%d", i);
            close(opened(name, O_WRONLY));
        }
        sample(FILES * 1e9 / (double)(now_ns() - start));
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof name, "many-%d", i);
            unlink(name);
        }
    }
    report_rate("create", "1/s");
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        close(opened(name, O_WRONLY));
    }
    uint64_t start = now_ns();
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        snprintf(other, sizeof other, "renamed-%d", i);
        require(rename(name, other) == 0, "rename");
    }
    sample(FILES * 1e9 / (double)(now_ns() - start));
    report_rate("rename", "1/s");
    struct stat status;
    start = now_ns();
    for (int i = 0; i < FILES; i++) {
        snprintf(other, sizeof other, "renamed-%d", i);
        require(stat(other, &status) == 0, "stat");
    }
    sample((double)(now_ns() - start) / FILES);
    report_rate("stat", "ns");
    start = now_ns();
    for (int i = 0; i < FILES; i++) {
        snprintf(other, sizeof other, "renamed-%d", i);
        require(unlink(other) == 0, "unlink");
    }
    sample(FILES * 1e9 / (double)(now_ns() - start));
    report_rate("unlink", "1/s");
}

int main(int count, char **arguments) {
    require(chdir(count > 1 ? arguments[1] : ".") == 0, "chdir");
    streams();
    latencies();
    group_commit(1, 300);
    lone_syncs = atomic_load(&syncs);
    group_commit(8, 100);
    group_commit(64, 20);
    metadata();
    printf("syncs work %ld\nlone_syncs work %ld\n", atomic_load(&syncs), lone_syncs);
    fflush(stdout);
    // The host looks at the disk's counters a few times a second.
    sleep(1);
    return 0;
}
