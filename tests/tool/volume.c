/*
 * Does what its arguments say, one after the other, and prints a line for each:
 *
 *   put PATH TEXT     writes a file and makes it durable
 *   get PATH          prints a file
 *   remove PATH
 *   hold PATH         makes a file, removes its name, and keeps it open and mapped
 *   fill PATH         writes to a file until that fails, and prints why
 *   large PATH        writes 200 MiB, and makes them durable
 *   sync
 *   trim PATH         has the volume give its free space back (FITRIM), which are 200 MiB at least
 *   mounts            prints what is mounted from disks, from /proc/mounts, and whether mountinfo, stat(2) and statfs(2) agree with it
 *   wait              says that it is ready, and waits for a signal
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void answer(const char *what, const char *path, int result)
{
    printf("%s %s: %s\n", what, path, result < 0 ? strerrorname_np(errno) : "ok");
}

static int put(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0)
        return -1;
    size_t length = strlen(text);
    if (write(file, text, length) != (ssize_t)length || fsync(file) < 0)
        return -1;
    return close(file);
}

static void get(const char *path)
{
    char text[4096];
    int file = open(path, O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (length < 0) {
        answer("get", path, -1);
    } else {
        text[length] = 0;
        printf("get %s: %s\n", path, text);
    }
    if (file >= 0)
        close(file);
}

static int hold(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (file < 0 || ftruncate(file, 8192) < 0)
        return -1;
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        return -1;
    memory[4096] = 'x';
    return unlink(path);
}

static void fill(const char *path)
{
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    int file = open(path, O_WRONLY | O_CREAT, 0644);
    while (file >= 0 && write(file, block, sizeof block) > 0)
        ;
    answer("fill", path, -1);
    /* What was accepted must still find its place. */
    answer("fsync", path, fsync(file));
    answer("close", path, close(file));
}

enum { LARGE_BLOCKS = 200, LARGE_BLOCK_BYTES = 1 << 20 };

static int large(const char *path)
{
    static char block[LARGE_BLOCK_BYTES];
    memset(block, 'x', sizeof block);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0)
        return -1;
    for (int i = 0; i < LARGE_BLOCKS; i++)
        if (write(file, block, sizeof block) != (ssize_t)sizeof block)
            return -1;
    return fsync(file) < 0 ? -1 : close(file);
}

static int trim(const char *path)
{
    struct fstrim_range range = {.start = 0, .len = ~0ULL, .minlen = 0};
    int file = open(path, O_RDONLY);
    if (file < 0 || ioctl(file, FITRIM, &range) < 0)
        return -1;
    if (range.len < (unsigned long long)LARGE_BLOCKS * LARGE_BLOCK_BYTES) {
        printf("only %llu bytes are given back\n", (unsigned long long)range.len);
        errno = ENOSPC;
        return -1;
    }
    return close(file);
}

static int in_mountinfo(const char *place, dev_t device)
{
    char line[4096], wanted[4096];
    int found = 0;
    snprintf(wanted, sizeof wanted, " %u:%u / %s ", major(device), minor(device), place);
    FILE *file = fopen("/proc/self/mountinfo", "r");
    while (file && fgets(line, sizeof line, file))
        found |= strstr(line, wanted) != NULL;
    if (file)
        fclose(file);
    return found;
}

static void mounts(void)
{
    char line[4096], source[1024], place[1024], type[64], options[1024];
    FILE *file = fopen("/proc/mounts", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%1023s %1023s %63s %1023s", source, place, type, options) != 4)
            continue;
        if (strncmp(source, "/dev/vd", 7) || !strcmp(place, "/"))
            continue;
        struct stat status;
        struct statvfs space;
        if (stat(place, &status) < 0 || statvfs(place, &space) < 0) {
            answer("mounts", place, -1);
            continue;
        }
        int is_read_only = !strncmp(options, "ro", 2);
        int agree = in_mountinfo(place, status.st_dev) && !!(space.f_flag & ST_RDONLY) == is_read_only &&
                    space.f_bfree <= space.f_blocks && space.f_blocks > 0;
        printf("%s %s %s %.2s %u:%u %s\n", source, place, type, options, major(status.st_dev),
               minor(status.st_dev), agree ? "agree" : "differ");
    }
    if (file)
        fclose(file);
}

int main(int count, char **words)
{
    for (int at = 1; at < count; at++) {
        const char *what = words[at];
        if (!strcmp(what, "mounts")) {
            mounts();
        } else if (!strcmp(what, "sync")) {
            sync();
        } else if (!strcmp(what, "wait")) {
            puts("ready");
            fflush(stdout);
            pause();
        } else if (at + 1 < count && !strcmp(what, "get")) {
            get(words[++at]);
        } else if (at + 1 < count && !strcmp(what, "fill")) {
            fill(words[++at]);
        } else if (at + 1 < count && !strcmp(what, "large")) {
            at++;
            answer("large", words[at], large(words[at]));
        } else if (at + 1 < count && !strcmp(what, "trim")) {
            at++;
            answer("trim", words[at], trim(words[at]));
        } else if (at + 1 < count && !strcmp(what, "hold")) {
            at++;
            answer("hold", words[at], hold(words[at]));
        } else if (at + 1 < count && !strcmp(what, "remove")) {
            at++;
            answer("remove", words[at], unlink(words[at]));
        } else if (at + 2 < count && !strcmp(what, "put")) {
            answer("put", words[at + 1], put(words[at + 1], words[at + 2]));
            at += 2;
        } else {
            fprintf(stderr, "volume: %s is not understood\n", what);
            return 2;
        }
    }
    return 0;
}
