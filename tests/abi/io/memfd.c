// memfd_create and its seals.
#include "fault.h"

int main(void) {
    fault_catch_all();
    int fd = memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CALL_OK("create", fd);
    char link[64] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    readlink(path, link, sizeof link - 1);
    TEXT("name", link);
    struct stat status;
    fstat(fd, &status);
    check_line("status", "%o links %d size %d", status.st_mode, (int)status.st_nlink, (int)status.st_size);
    VALUE("seals", fcntl(fd, F_GET_SEALS));
    CALL("write", write(fd, "hello", 5));
    CALL("truncate", ftruncate(fd, 3 * PAGE));
    char *map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check_line("map", "%.5s", map);
    map[PAGE] = 'x';
    char byte = 0;
    pread(fd, &byte, 1, PAGE);
    check_line("read what the map wrote", "%c", byte);
    char *alias = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    alias[2 * PAGE] = 'y';
    check_line("two maps are one memory", "%c", map[2 * PAGE]);
    CALL("punch a hole", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE));
    VALUE("zero in the map", map[PAGE]);
    CALL("remove by madvise", madvise(map + 2 * PAGE, PAGE, MADV_REMOVE));
    VALUE("zero in the other map", alias[2 * PAGE]);

    CALL("seal shrink", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    CALL("shrink", ftruncate(fd, PAGE));
    CALL("grow", ftruncate(fd, 4 * PAGE));
    CALL("seal grow", fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    CALL("grow", ftruncate(fd, 5 * PAGE));
    CALL("write within", pwrite(fd, "a", 1, 0));
    CALL("write past the end", pwrite(fd, "a", 1, 5 * PAGE));
    CALL("seal write while mapped", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(map, 3 * PAGE);
    munmap(alias, 3 * PAGE);
    CALL("seal write", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    CALL("write", pwrite(fd, "b", 1, 0));
    CALL_OK("map writable", mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    IS("map readable", map != MAP_FAILED);
    CALL("make it writable", mprotect(map, PAGE, PROT_READ | PROT_WRITE));
    CALL("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
    CALL("seal seal", fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    CALL("one more seal", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    HEX("seals", fcntl(fd, F_GET_SEALS));

    int plain = memfd_create("", 0);
    HEX("without sealing", fcntl(plain, F_GET_SEALS));
    CALL("seal it", fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
    VALUE("no close on exec", fcntl(plain, F_GETFD));
    CALL("seals of a pipe", ({ int end[2]; REQUIRE(pipe(end) == 0); fcntl(end[0], F_GET_SEALS); }));
    CALL("unknown flag", memfd_create("x", 0x1000));
    CALL("bad name", memfd_create(UNMAPPED, 0));
    char name[300];
    memset(name, 'n', sizeof name);
    name[249] = 0;
    CALL_OK("name of 249 characters", memfd_create(name, 0));
    name[249] = 'n';
    name[250] = 0;
    CALL("name of 250 characters", memfd_create(name, 0));
    // What ZGC does: one memory mapped at three addresses, pieces of it remapped with MAP_FIXED.
    ftruncate(plain, 4 * PAGE);
    char *view[3];
    for (int i = 0; i < 3; i++)
        view[i] = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
    for (int i = 0; i < 4; i++)
        view[i % 3][i * PAGE] = (char)('a' + i);
    check_line("three views", "%c%c%c%c", view[1][0], view[2][PAGE], view[0][2 * PAGE], view[1][3 * PAGE]);
    IS("exchange two pages in one view",
       mmap(view[0], PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, plain, 3 * PAGE) == view[0]);
    check_line("views differ", "%c %c", view[0][0], view[1][0]);
    CALL("punch under all views", fallocate(plain, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, PAGE));
    check_line("zero in all", "%d %d", view[0][0], view[2][3 * PAGE]);
    ftruncate(plain, PAGE);
    READ_BYTE("past the end", view[1], 2 * PAGE);
    return 0;
}
