// The root: a layer of memory over the image, which is never written. What was opened, mapped or watched before the
// first change of a file sees that change; Linux's overlayfs differs there (the kernel's Documentation, "Non-standard
// behavior").
#include "check.h"
#include <linux/magic.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#ifndef OVERLAYFS_SUPER_MAGIC
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#endif

// Files of the image: other programs.
#define FILE_ "/app/file/names"
#define OTHER "/app/file/open"

static int names_in(const char *path, const char *wanted) {
    DIR *directory = opendir(path);
    int found = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        found += strcmp(entry->d_name, wanted) == 0;
    if (directory)
        closedir(directory);
    return found;
}

static unsigned long free_blocks(void) {
    struct statvfs figures;
    return statvfs("/app", &figures) == 0 ? figures.f_bfree : 0;
}

static void changes_are_seen(void) {
    struct stat before, after;
    stat(FILE_, &before);
    int reader = open(FILE_, O_RDONLY), watcher = inotify_init1(IN_NONBLOCK);
    CALL("watch", inotify_add_watch(watcher, FILE_, IN_MODIFY | IN_ATTRIB) > 0);
    volatile char *shared = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
    volatile char *private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
    volatile char *untouched = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, reader, 0);
    private[20] = 'p';
    char first = shared[9] | untouched[9] | private[9];

    int writer = open(FILE_, O_RDWR);
    CALL("write", pwrite(writer, "Z", 1, 9));
    char byte = 0;
    pread(reader, &byte, 1, 9);
    check_line("seen by a descriptor from before", "%c", byte);
    check_line("seen by a shared mapping from before", "%c", shared[9]);
    check_line("seen by a private mapping from before", "%c", untouched[9]);
    check_line("a private copy stays", "%d %c", private[9] == first, private[20]);
    stat(FILE_, &after);
    check_line("it is the same file", "%d", before.st_ino == after.st_ino && before.st_dev == after.st_dev);
    check_line("of the same size", "%d", before.st_size == after.st_size);
    CALL("chmod", chmod(FILE_, 0700));
    char events[512];
    ssize_t length = read(watcher, events, sizeof events);
    uint32_t masks = 0;
    for (ssize_t at = 0; at < length; at += sizeof(struct inotify_event) + ((struct inotify_event *)(events + at))->len)
        masks |= ((struct inotify_event *)(events + at))->mask;
    check_line("events", "%d", masks == (IN_MODIFY | IN_ATTRIB));

    volatile char *written = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
    written[PAGE + 1] = 'm';
    pread(reader, &byte, 1, PAGE + 1);
    check_line("a write through a mapping", "%c %c", byte, shared[PAGE + 1]);
    CALL("truncate", ftruncate(writer, 100));
    CALL("truncate back", ftruncate(writer, 3 * PAGE));
    check_line("what was cut off is gone", "%d %d", shared[PAGE + 1], shared[9]);
    CALL("append", open(FILE_, O_WRONLY | O_APPEND) >= 0);
    close(reader), close(writer), close(watcher);
}

static void names_change(void) {
    struct stat before, after;
    stat("/app/file", &before);
    CALL("rename a folder of the image", rename("/app/file", "/app/moved"));
    stat("/app/moved", &after);
    check_line("it is the same folder", "%d", before.st_ino == after.st_ino);
    CALL("a file in it", access("/app/moved/names", F_OK));
    CALL("its old name", access(FILE_, F_OK));
    CALL("rename it back", rename("/app/moved", "/app/file"));
    CALL("remove a folder that is not empty", rmdir("/app/file"));

    CALL("unlink", unlink(OTHER));
    CALL("it is gone", access(OTHER, F_OK));
    check_line("in the folder", "%d", names_in("/app/file", "open"));
    CALL("make it again", close(open(OTHER, O_CREAT | O_EXCL | O_WRONLY, 0644)));
    check_line("in the folder again", "%d", names_in("/app/file", "open"));
    stat(OTHER, &after);
    check_line("it is empty", "%ld", (long)after.st_size);
    CALL("make what is there", open("/app/file/stat", O_CREAT | O_EXCL | O_WRONLY, 0644));

    CALL("link", link("/app/file/stat", "/app/link"));
    CALL("chmod of one name", chmod("/app/link", 0711));
    stat("/app/file/stat", &after);
    check_line("links and mode of the other", "%lu %o", (unsigned long)after.st_nlink, after.st_mode & 07777);
    char value[8] = "";
    CALL("setxattr", setxattr("/app/link", "user.test", "value", 5, XATTR_CREATE));
    CALL("getxattr", getxattr("/app/file/stat", "user.test", value, sizeof value));
    CALL("symlink", symlink("file/stat", "/app/symlink"));
    CALL("through it", access("/app/symlink", F_OK));
    int unnamed = open("/app", O_TMPFILE | O_RDWR, 0600);
    CALL("O_TMPFILE", write(unnamed, "x", 1));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", unnamed);
    CALL("name it by its descriptor", linkat(AT_FDCWD, path, AT_FDCWD, "/app/named", AT_SYMLINK_FOLLOW));
    CALL("now it has one", access("/app/named", F_OK));
}

static void memory_ends(void) {
    struct statfs figures;
    statfs("/app", &figures);
    check_line("kind of file system", "%d", figures.f_type == OVERLAYFS_SUPER_MAGIC);
    unsigned long before = free_blocks();
    int big = open("/app/big", O_CREAT | O_RDWR, 0600);
    CALL("more than there is", fallocate(big, 0, 0, (before + 1) * PAGE));
    check_line("takes nothing", "%d", free_blocks() == before);
    static char part[1 << 20];
    memset(part, 7, sizeof part);
    long written = 0;
    for (long done; (done = write(big, part, sizeof part)) > 0;)
        written += done;
    CALL("one more write", write(big, part, sizeof part));
    check_line("all there was", "%d", written == (long)(before * PAGE));
    CALL("no other file can be changed", pwrite(open("/app/file/xattr", O_RDWR), "x", 1, 0));
    CALL("remove it", unlink("/app/big"));
    check_line("in use until it is closed", "%lu", free_blocks());
    close(big);
    check_line("all is free again", "%d", free_blocks() == before);
    CALL("now others can", pwrite(open("/app/file/xattr", O_RDWR), "x", 1, 0));
}

int main(void) {
    changes_are_seen();
    names_change();
    memory_ends();
    return 0;
}
