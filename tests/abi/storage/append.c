// O_APPEND, its atomicity among threads, and the flags of pwritev2 and preadv2.
#include "storage.h"
#include <sys/uio.h>

#ifndef RWF_APPEND
#define RWF_APPEND 0x10
#endif

enum { THREADS = 4, RECORDS = 200, RECORD = 37 };

static int shared;

// Each record is written by one call: it must stay in one piece.
static void *appender(void *argument) {
    char record[RECORD];
    memset(record, 'a' + (int)(intptr_t)argument, sizeof record);
    record[RECORD - 1] = '\n';
    int own = open("threads", O_WRONLY | O_APPEND);
    for (int i = 0; i < RECORDS; i++)
        REQUIRE(write(i % 2 ? own : shared, record, sizeof record) == RECORD);
    close(own);
    return NULL;
}

static void threads(void) {
    shared = open("threads", O_RDWR | O_CREAT | O_APPEND, 0644);
    pthread_t all[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&all[i], NULL, appender, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(all[i], NULL);
    VALUE("size", storage_size(shared));
    char record[RECORD];
    int whole = 0, count[THREADS] = {0};
    for (off_t at = 0; pread(shared, record, RECORD, at) == RECORD; at += RECORD) {
        int same = 1;
        for (int i = 1; i < RECORD - 1; i++)
            same &= record[i] == record[0];
        whole += same && record[RECORD - 1] == '\n';
        if (record[0] >= 'a' && record[0] < 'a' + THREADS)
            count[record[0] - 'a']++;
    }
    VALUE("whole records", whole);
    check_line("of each thread", "%d %d %d %d", count[0], count[1], count[2], count[3]);
}

// Threads that share a descriptor share its offset: no write overwrites another.
static void *writer(void *argument) {
    char record[RECORD];
    memset(record, 'a' + (int)(intptr_t)argument, sizeof record);
    for (int i = 0; i < RECORDS; i++)
        REQUIRE(write(shared, record, sizeof record) == RECORD);
    return NULL;
}

static void offsets(void) {
    shared = storage_file("offsets");
    pthread_t all[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&all[i], NULL, writer, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(all[i], NULL);
    check_line("size and offset", "%ld %ld", storage_size(shared), (long)lseek(shared, 0, SEEK_CUR));
}

static void one_thread(void) {
    int fd = open("append", O_RDWR | O_CREAT | O_APPEND, 0644);
    CALL("write", write(fd, "one", 3));
    lseek(fd, 0, SEEK_SET);
    CALL("the offset does not matter", write(fd, "two", 3));
    VALUE("and is at the end then", lseek(fd, 0, SEEK_CUR));
    CALL("nor does that of pwrite", pwrite(fd, "three", 5, 1));
    VALUE("which leaves the file's own", lseek(fd, 0, SEEK_CUR));
    storage_runs("contents", fd, 100);
    char text[20] = "";
    lseek(fd, 2, SEEK_SET);
    CALL("read where the offset is", read(fd, text, 4));
    TEXT("text", text);
    CALL("clear O_APPEND", fcntl(fd, F_SETFL, 0));
    CALL("write there", write(fd, "X", 1));
    CALL("set it again", fcntl(fd, F_SETFL, O_APPEND));
    CALL("write at the end", write(fd, "Y", 1));
    VALUE("size", storage_size(fd));
    ftruncate(fd, 2);
    CALL("after truncation", write(fd, "Z", 1));
    VALUE("size then", storage_size(fd));
}

static void vectors(void) {
    int fd = storage_file("vectors");
    struct iovec two[2] = {{"abc", 3}, {"def", 3}};
    CALL("pwritev2", pwritev2(fd, two, 2, 0, 0));
    CALL("RWF_DSYNC", pwritev2(fd, two, 2, 6, RWF_DSYNC));
    CALL("RWF_SYNC", pwritev2(fd, two, 1, 12, RWF_SYNC));
    CALL("both", pwritev2(fd, two, 1, 12, RWF_SYNC | RWF_DSYNC));
    CALL("RWF_HIPRI", pwritev2(fd, two, 1, 12, RWF_HIPRI));
    VALUE("size", storage_size(fd));
    CALL("RWF_APPEND", pwritev2(fd, two, 1, 0, RWF_APPEND));
    VALUE("size after it", storage_size(fd));
    VALUE("the offset stays", lseek(fd, 0, SEEK_CUR));
    lseek(fd, 1, SEEK_SET);
    CALL("RWF_APPEND at the current offset", pwritev2(fd, two, 1, -1, RWF_APPEND));
    VALUE("which moves", lseek(fd, 0, SEEK_CUR));
    CALL("RWF_APPEND and RWF_DSYNC", pwritev2(fd, two, 2, 3, RWF_APPEND | RWF_DSYNC));
    CALL("at the current offset", pwritev2(fd, two, 1, -1, 0));
    storage_runs("contents", fd, 100);
    CALL("negative offset", pwritev2(fd, two, 1, -2, 0));
    CALL("unknown flag", pwritev2(fd, two, 1, 0, 0x4000));
    int reader = open("vectors", O_RDONLY);
    CALL("read-only descriptor", pwritev2(reader, two, 1, 0, RWF_DSYNC));
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CALL("a pipe has no offsets", pwritev2(ends[1], two, 1, 0, 0));
    CALL("but takes the current one", pwritev2(ends[1], two, 1, -1, 0));
    CALL("and RWF_DSYNC, which means nothing there", pwritev2(ends[1], two, 1, -1, RWF_DSYNC));
    char a[4] = "", b[8] = "";
    struct iovec into[2] = {{a, 3}, {b, 7}};
    CALL("preadv2", preadv2(fd, into, 2, 1, 0));
    check_line("parts", "%s %s", a, b);
    CALL("preadv2, RWF_HIPRI", preadv2(fd, into, 2, 1, RWF_HIPRI));
    CALL("preadv2, RWF_DSYNC", preadv2(fd, into, 2, 1, RWF_DSYNC));
    CALL("preadv2, negative offset", preadv2(fd, into, 2, -2, 0));
    CALL("preadv2 past the end", preadv2(fd, into, 2, 1000, 0));
}

int main(void) {
    check_enter_scratch();
    one_thread();
    threads();
    offsets();
    vectors();
    return 0;
}
