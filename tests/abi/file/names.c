// Directories and names: mkdir, rmdir, rename, renameat2, link, symlink, readlink, unlink, getdents64.
#include "check.h"

static void touch(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    REQUIRE(fd >= 0 && write(fd, path, strlen(path)) >= 0);
    close(fd);
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The names in a directory, sorted, each with its type letter.
static void print_directory(const char *name, const char *path) {
    DIR *directory = opendir(path);
    if (!directory) {
        check_line(name, "-1 %s", check_errno_name(errno));
        return;
    }
    char *names[64];
    size_t count = 0;
    for (struct dirent *entry; count < 64 && (entry = readdir(directory)) != NULL; count++)
        REQUIRE(asprintf(&names[count], "%s(%c)", entry->d_name,
                         entry->d_type == DT_DIR ? 'd' : entry->d_type == DT_LNK ? 'l' : entry->d_type == DT_REG ? 'f' :
                         entry->d_type == DT_FIFO ? 'p' : '?') > 0);
    closedir(directory);
    qsort(names, count, sizeof *names, compare);
    char text[2048] = "";
    for (size_t i = 0; i < count; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), " %s", names[i]);
        free(names[i]);
    }
    check_line(name, "%s", text + 1);
}

static void print_content(const char *name, const char *path) {
    char text[64] = "";
    int fd = open(path, O_RDONLY);
    if (fd == -1 || read(fd, text, sizeof text - 1) < 0)
        check_line(name, "-1 %s", check_errno_name(errno));
    else
        check_line(name, "%s", text);
    if (fd != -1)
        close(fd);
}

static unsigned links(const char *path) {
    struct stat status;
    return lstat(path, &status) == -1 ? 0 : (unsigned)status.st_nlink;
}

int main(void) {
    check_enter_scratch();
    CALL("mkdir", mkdir("a", 0777));
    VALUE("links of an empty directory", links("a"));
    CALL("mkdir, exists", mkdir("a", 0777));
    CALL("mkdir, parent missing", mkdir("x/y", 0777));
    CALL("mkdir, trailing slash", mkdir("a/b/", 0777));
    VALUE("links of a directory with one inside", links("a"));
    CALL("mkdir of .", mkdir(".", 0777));
    CALL("mkdir of /", mkdir("/", 0777));
    CALL("mkdir, empty", mkdir("", 0777));
    touch("f");
    CALL("mkdir, a file exists", mkdir("f", 0777));
    CALL("mkdir below a file", mkdir("f/x", 0777));
    CALL("rmdir, not empty", rmdir("a"));
    CALL("rmdir of a file", rmdir("f"));
    CALL("rmdir, missing", rmdir("x"));
    CALL("rmdir of .", rmdir("."));
    CALL("rmdir of ..", rmdir("a/.."));
    CALL("rmdir of /", rmdir("/"));
    CALL("rmdir", rmdir("a/b"));
    CALL("unlink of a directory", unlink("a"));
    CALL("unlink, missing", unlink("x"));
    CALL("unlink with a slash", unlink("f/"));
    CALL("unlinkat, directory", unlinkat(AT_FDCWD, "a", AT_REMOVEDIR));
    CALL("unlinkat, unknown flag", unlinkat(AT_FDCWD, "f", 1));

    CALL("link", link("f", "g"));
    VALUE("links", links("f"));
    CALL("link, exists", link("f", "g"));
    CALL("link, missing", link("x", "y"));
    CALL("link of a directory", (mkdir("d", 0755), link("d", "e")));
    CALL("symlink", symlink("target that is not there", "s"));
    CALL("symlink, exists", symlink("x", "s"));
    CALL("symlink, empty target", symlink("", "t"));
    CALL("link of a symlink", link("s", "s2"));
    VALUE("links of the symlink", links("s"));
    char text[64] = "";
    CALL("readlink", readlink("s", text, sizeof text));
    TEXT("it says", text);
    CALL("readlink, cut", readlink("s", text, 3));
    CALL("readlink, size 0", readlink("s", text, 0));
    CALL("readlink of a file", readlink("f", text, sizeof text));
    CALL("readlink of a directory", readlink("d", text, sizeof text));
    CALL("readlink, missing", readlink("x", text, sizeof text));
    CALL("readlink, bad buffer", readlink("s", UNMAPPED, 10));
    CALL("readlink, negative size", syscall(SYS_readlink, "s", text, -1));
    int path_only = open("s", O_PATH | O_NOFOLLOW);
    CALL("readlinkat, empty path", readlinkat(path_only, "", text, sizeof text));

    CALL("rename", rename("f", "h"));
    print_directory("after rename", ".");
    CALL("rename over a file", (touch("i"), rename("h", "i")));
    print_content("contents came along", "i");
    CALL("rename of two links to one file does nothing", rename("g", "i"));
    IS("both are there", access("g", F_OK) == 0 && access("i", F_OK) == 0);
    CALL("rename, missing", rename("x", "y"));
    CALL("rename onto itself", rename("i", "i"));
    CALL("rename of a file over a directory", rename("i", "d"));
    CALL("rename of a directory over a file", rename("d", "i"));
    CALL("rename of a directory over an empty one", (mkdir("e", 0755), rename("d", "e")));
    mkdir("full", 0755);
    touch("full/x");
    CALL("rename over a directory that is not empty", rename("e", "full"));
    CALL("rename into itself", rename("full", "full/inner"));
    CALL("rename over its parent", rename("full/x", "full"));
    CALL("rename of .", rename(".", "dot"));
    CALL("rename with a slash on a file", rename("i", "j/"));
    CALL("rename of a directory to another parent", rename("full", "e/full"));
    VALUE("links of the new parent", links("e"));
    print_directory("its dot dot", "e/full/..");
    CALL("noreplace, exists", renameat2(AT_FDCWD, "i", AT_FDCWD, "g", RENAME_NOREPLACE));
    CALL("noreplace", renameat2(AT_FDCWD, "i", AT_FDCWD, "k", RENAME_NOREPLACE));
    CALL("exchange", (touch("l"), renameat2(AT_FDCWD, "k", AT_FDCWD, "l", RENAME_EXCHANGE)));
    print_content("k is now", "k");
    print_content("l is now", "l");
    CALL("exchange, one missing", renameat2(AT_FDCWD, "k", AT_FDCWD, "x", RENAME_EXCHANGE));
    CALL("exchange and noreplace", renameat2(AT_FDCWD, "k", AT_FDCWD, "x", RENAME_EXCHANGE | RENAME_NOREPLACE));
    CALL("renameat2, unknown flag", renameat2(AT_FDCWD, "k", AT_FDCWD, "x", 64));
    CALL("mkfifo", mkfifo("fifo", 0600));
    CALL("mknod, regular", mknod("node", S_IFREG | 0600, 0));
    print_directory("all", ".");

    // A directory of many entries, read with small buffers, and changed while it is read.
    mkdir("many", 0755);
    char path[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "many/a file with a longish name %d", i);
        touch(path);
    }
    int fd = open("many", O_RDONLY | O_DIRECTORY), seen = 0;
    char buffer[500];
    CALL("getdents64, buffer too small", syscall(SYS_getdents64, fd, buffer, 10));
    long got;
    bool sane = true;
    while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < got;) {
            struct dirent64 *entry = (struct dirent64 *)(buffer + at);
            sane = sane && entry->d_reclen % 8 == 0 && entry->d_ino != 0 && entry->d_reclen >= strlen(entry->d_name) + 20;
            seen++;
            at += entry->d_reclen;
        }
    VALUE("entries seen", seen);
    IS("records are sane", sane);
    CALL("at the end", syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    CALL("rewind", lseek(fd, 0, SEEK_SET));
    IS("again", syscall(SYS_getdents64, fd, buffer, sizeof buffer) > 0);
    CALL("getdents64 of a file", syscall(SYS_getdents64, open("k", O_RDONLY), buffer, sizeof buffer));
    lseek(fd, 0, SEEK_SET);
    CALL("getdents64, bad buffer", syscall(SYS_getdents64, fd, UNMAPPED, 500));
    DIR *directory = opendir("many");
    int removed = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "many/%.50s", entry->d_name);
            removed += unlink(path) == 0;
        }
    closedir(directory);
    VALUE("removed while reading", removed);
    CALL("rmdir afterwards", rmdir("many"));
    fd = open("e/full", O_RDONLY | O_DIRECTORY);
    unlink("e/full/x");
    rmdir("e/full");
    CALL("getdents64 of a removed directory", syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    CALL("create in a removed directory", openat(fd, "new", O_WRONLY | O_CREAT, 0600));

    char here[PATH_MAX];
    mkdir("cwd", 0755);
    CALL("chdir", chdir("cwd"));
    IS("getcwd ends so", getcwd(here, sizeof here) && strcmp(here + strlen(here) - 4, "/cwd") == 0);
    IS("raw getcwd returns the length with its zero", syscall(SYS_getcwd, here, sizeof here) == (long)strlen(here) + 1);
    CALL("getcwd, no room", syscall(SYS_getcwd, here, 3));
    CALL("getcwd, bad buffer", syscall(SYS_getcwd, UNMAPPED, 4096));
    CALL("chdir to a file", chdir("../k"));
    CALL("chdir, missing", chdir("x"));
    fd = open("..", O_RDONLY | O_DIRECTORY);
    CALL("fchdir", fchdir(fd));
    CALL("fchdir to a file", fchdir(open("k", O_RDONLY)));
    CALL("fchdir, closed", fchdir(1000));
    chdir("cwd");
    rmdir("../cwd");
    CALL("getcwd of a removed directory", syscall(SYS_getcwd, here, sizeof here));
    CALL("open in it", open("x", O_WRONLY | O_CREAT, 0600));
    CALL("umask", umask(077));
    CALL("umask masks", umask(01777));
    CALL("umask keeps nine bits", umask(022));
    return 0;
}
