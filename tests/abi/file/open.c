// open(2), openat(2), openat2(2): flags, creation modes, and every error that names and flags give.
#include "check.h"
#include <linux/openat2.h>

static const char *long_name(size_t length) {
    static char name[5000];
    memset(name, 'n', length);
    name[length] = 0;
    return name;
}

static unsigned mode_of(const char *path) {
    struct stat status;
    return lstat(path, &status) == -1 ? 07777 : status.st_mode & 07777;
}

int main(void) {
    check_enter_scratch();
    int fd;
    CALL("missing", open("missing", O_RDONLY));
    CALL_OK("create", fd = open("file", O_RDWR | O_CREAT, 0666));
    check_line("mode after umask 022", "%o", mode_of("file"));
    HEX("its flags", fcntl(fd, F_GETFL));
    VALUE("its descriptor flags", fcntl(fd, F_GETFD));
    REQUIRE(write(fd, "0123456789", 10) == 10);
    CALL("exclusive, exists", open("file", O_WRONLY | O_CREAT | O_EXCL, 0666));
    CALL_OK("exclusive, new", open("new", O_WRONLY | O_CREAT | O_EXCL, 0));
    check_line("mode 0", "%o", mode_of("new"));
    CALL_OK("mode 0 and written all the same by the creator", open("new2", O_WRONLY | O_CREAT, 07777));
    check_line("mode 7777 after umask", "%o", mode_of("new2"));
    CALL_OK("truncate", fd = open("file", O_WRONLY | O_TRUNC));
    struct stat status;
    fstat(fd, &status);
    VALUE("size after truncation", status.st_size);
    CALL("read of a write-only file", read(fd, &status, 1));
    CALL_OK("read-only", fd = open("file", O_RDONLY));
    CALL("write to a read-only file", write(fd, "x", 1));
    CALL_OK("append", fd = open("file", O_WRONLY | O_APPEND));
    write(fd, "abc", 3);
    pwrite(fd, "Z", 1, 0);
    lseek(fd, 0, SEEK_SET);
    write(fd, "de", 2);
    char text[32] = "";
    int reader = open("file", O_RDONLY);
    ssize_t length = read(reader, text, sizeof text - 1);
    check_line("append writes at the end, pwrite too", "%zd %s", length, text);
    VALUE("offset after an append", lseek(fd, 0, SEEK_CUR));

    mkdir("directory", 0755);
    CALL("directory for writing", open("directory", O_WRONLY));
    CALL("directory for both", open("directory", O_RDWR));
    CALL_OK("directory for reading", fd = open("directory", O_RDONLY));
    CALL("read of a directory", read(fd, text, 1));
    CALL("directory with create", open("directory", O_RDONLY | O_CREAT, 0666));
    CALL("O_DIRECTORY of a file", open("file", O_RDONLY | O_DIRECTORY));
    CALL("O_DIRECTORY with a slash on a file", open("file/", O_RDONLY));
    CALL("create with a trailing slash", open("fresh/", O_WRONLY | O_CREAT, 0666));
    CALL("file as a directory", open("file/child", O_RDONLY));
    CALL("missing directory", open("missing/child", O_WRONLY | O_CREAT, 0666));
    CALL("empty name", open("", O_RDONLY));
    CALL_OK("dot", open(".", O_RDONLY));
    CALL_OK("many slashes", open(".//directory///..//file", O_RDONLY));
    CALL_OK("above the root is the root", open("/../../..", O_RDONLY));
    CALL("name of 255 characters", open(long_name(255), O_RDONLY));
    CALL("name of 256 characters", open(long_name(256), O_RDONLY));
    CALL("path of 4096 characters", open(long_name(4096), O_RDONLY));
    CALL("bad pointer", open(UNMAPPED, O_RDONLY));
    CALL("kernel pointer", open(KERNEL_ADDRESS, O_RDONLY));
    char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + PAGE, PAGE);
    memcpy(edge + PAGE - 4, "file", 4);
    CALL("name runs into a hole", open(edge + PAGE - 4, O_RDONLY));
    memcpy(edge + PAGE - 5, "file", 5);
    CALL_OK("name ends at the hole", open(edge + PAGE - 5, O_RDONLY));

    symlink("file", "link");
    symlink("nowhere", "dangling");
    symlink("loop2", "loop1");
    symlink("loop1", "loop2");
    symlink("directory", "dirlink");
    CALL_OK("through a link", open("link", O_RDONLY));
    CALL("O_NOFOLLOW", open("link", O_RDONLY | O_NOFOLLOW));
    CALL_OK("O_NOFOLLOW in the middle", open("dirlink/../file", O_RDONLY | O_NOFOLLOW));
    CALL("O_NOFOLLOW and O_DIRECTORY", open("dirlink", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
    CALL("dangling", open("dangling", O_RDONLY));
    CALL("create exclusively through a dangling link", open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0666));
    CALL_OK("create through a dangling link", open("dangling", O_WRONLY | O_CREAT, 0666));
    check_line("what the link named exists", "%o", mode_of("nowhere"));
    CALL("loop", open("loop1", O_RDONLY));
    char chain[16], next[16];
    for (int i = 0; i < 41; i++) {
        snprintf(chain, sizeof chain, "chain%d", i);
        snprintf(next, sizeof next, i == 0 ? "file" : "chain%d", i - 1);
        REQUIRE(symlink(next, chain) == 0);
    }
    CALL_OK("forty links", open("chain39", O_RDONLY));
    CALL("forty-one links", open("chain40", O_RDONLY));

    CALL_OK("O_PATH", fd = open("file", O_PATH));
    CALL("O_PATH: read", read(fd, text, 1));
    CALL("O_PATH: fstat", fstat(fd, &status));
    CALL("O_PATH: fchmod", fchmod(fd, 0600));
    HEX("O_PATH: flags", fcntl(fd, F_GETFL));
    CALL_OK("O_PATH of a link", fd = open("link", O_PATH | O_NOFOLLOW));
    fstat(fd, &status);
    IS("is the link", S_ISLNK(status.st_mode));
    CALL_OK("O_CLOEXEC", fd = open("file", O_RDONLY | O_CLOEXEC));
    VALUE("descriptor flag", fcntl(fd, F_GETFD));
    HEX("O_SYNC and O_NONBLOCK stay", fcntl(open("file", O_RDWR | O_SYNC | O_NONBLOCK | O_NOATIME), F_GETFL));
    HEX("O_CREAT, O_EXCL, O_TRUNC do not", fcntl(open("yet", O_RDWR | O_CREAT | O_EXCL | O_TRUNC, 0600), F_GETFL));
    CALL_OK("O_TMPFILE", fd = open(".", O_TMPFILE | O_RDWR, 0600));
    if (fd >= 0) {
        fstat(fd, &status);
        VALUE("O_TMPFILE: links", status.st_nlink);
        CALL("O_TMPFILE: write", write(fd, "abc", 3));
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        CALL("O_TMPFILE: given a name", linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        fstat(fd, &status);
        VALUE("O_TMPFILE: links afterwards", status.st_nlink);
    }
    CALL("O_TMPFILE for reading", open(".", O_TMPFILE | O_RDONLY, 0600));

    int directory = open("directory", O_RDONLY | O_DIRECTORY);
    CALL_OK("openat", openat(directory, "inner", O_WRONLY | O_CREAT, 0644));
    check_line("it is there", "%o", mode_of("directory/inner"));
    CALL("openat, not a directory", openat(reader, "inner", O_RDONLY));
    CALL("openat, closed", openat(1000, "inner", O_RDONLY));
    CALL_OK("openat, absolute ignores the descriptor", openat(1000, "/", O_RDONLY));
    CALL_OK("creat", creat("created", 0640));
    check_line("creat mode", "%o", mode_of("created"));
    struct open_how how = {.flags = O_RDONLY};
    CALL_OK("openat2", syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof how));
    how.resolve = RESOLVE_NO_SYMLINKS;
    CALL("openat2, no symlinks", syscall(SYS_openat2, AT_FDCWD, "link", &how, sizeof how));
    how.resolve = RESOLVE_BENEATH;
    CALL("openat2, beneath", syscall(SYS_openat2, AT_FDCWD, "../x", &how, sizeof how));
    how = (struct open_how){.flags = O_RDONLY, .mode = 0600};
    CALL("openat2, mode without create", syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof how));
    how = (struct open_how){.flags = 1UL << 40};
    CALL("openat2, unknown flag", syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof how));
    CALL("openat2, small structure", syscall(SYS_openat2, AT_FDCWD, "file", &how, 8));
    // A file stays usable after it is unlinked, and its descriptor number is the lowest free one.
    fd = open("file", O_RDWR);
    close(reader);
    int lowest = open("file", O_RDONLY);
    IS("lowest free descriptor", lowest == reader);
    unlink("file");
    CALL("write to an unlinked file", write(fd, "more", 4));
    fstat(fd, &status);
    VALUE("links of an unlinked file", status.st_nlink);
    CALL("open by its old name", open("file", O_RDONLY));
    return 0;
}
