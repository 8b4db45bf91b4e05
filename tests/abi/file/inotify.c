// inotify(7): events for files and directories, coalescing, removal, errors.
#include "check.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

static int notify, directory_watch, file_watch;

static void print_events(const char *name) {
    char buffer[4096] __attribute__((aligned(8)));
    char text[1024] = "";
    ssize_t length;
    while ((length = read(notify, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < length;) {
            struct inotify_event *event = (struct inotify_event *)(buffer + at);
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s0x%x%s%s",
                     event->wd == directory_watch ? "d:" : event->wd == file_watch ? "f:" : "?:", event->mask,
                     event->len ? "=" : "", event->len ? event->name : "");
            at += (ssize_t)(sizeof *event + event->len);
        }
    check_line(name, "%s", *text ? text + 1 : "none");
}

static void *touch_later(void *argument) {
    check_await_sleeping((pid_t)(long)argument);
    close(open("directory/late", O_WRONLY | O_CREAT, 0600));
    return NULL;
}

int main(void) {
    check_enter_scratch();
    mkdir("directory", 0755);
    CALL_OK("init", notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    CALL("init, unknown flag", inotify_init1(1));
    CALL("read, no events", read(notify, (char[64]){0}, 64));
    CALL_OK("watch a directory", directory_watch = inotify_add_watch(notify, "directory", IN_ALL_EVENTS));
    IS("again is the same watch", inotify_add_watch(notify, "directory", IN_ALL_EVENTS) == directory_watch);
    int fd = open("directory/file", O_RDWR | O_CREAT, 0600);
    print_events("create");
    CALL_OK("watch a file", file_watch = inotify_add_watch(notify, "directory/file", IN_MODIFY | IN_DELETE_SELF | IN_ATTRIB));
    write(fd, "a", 1);
    write(fd, "b", 1);
    write(fd, "c", 1);
    print_events("three writes");
    read(fd, (char[4]){0}, 4);
    pread(fd, (char[4]){0}, 4, 0);
    print_events("read");
    fchmod(fd, 0644);
    print_events("chmod");
    ftruncate(fd, 0);
    print_events("truncate");
    close(fd);
    print_events("close after writing");
    close(open("directory/file", O_RDONLY));
    print_events("open and close");
    rename("directory/file", "directory/other");
    print_events("rename");
    rename("directory/other", "outside");
    print_events("move out");
    rename("outside", "directory/inside");
    print_events("move in");
    link("directory/inside", "directory/linked");
    print_events("link");
    symlink("x", "directory/symbolic");
    print_events("symlink");
    mkdir("directory/below", 0755);
    print_events("mkdir");
    rmdir("directory/below");
    print_events("rmdir");
    unlink("directory/linked");
    print_events("unlink one of two names");
    unlink("directory/inside");
    print_events("unlink the last");

    struct pollfd set = {notify, POLLIN, 0};
    CALL("poll, nothing", poll(&set, 1, 0));
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, touch_later, (void *)(long)check_tid()) == 0);
    CALL("poll, an event comes", poll(&set, 1, 10000));
    pthread_join(thread, NULL);
    int waiting = 0;
    CALL("FIONREAD", ioctl(notify, FIONREAD, &waiting));
    IS("bytes are waiting", waiting >= (int)(3 * sizeof(struct inotify_event)));
    CALL("read, buffer too small", read(notify, (char[8]){0}, 8));
    print_events("create by a thread");
    CALL("remove the watch", inotify_rm_watch(notify, directory_watch));
    print_events("it is told");
    close(open("directory/unseen", O_WRONLY | O_CREAT, 0600));
    print_events("nothing more");
    CALL("remove again", inotify_rm_watch(notify, directory_watch));
    CALL("add, missing", inotify_add_watch(notify, "missing", IN_ALL_EVENTS));
    CALL("add, no events", inotify_add_watch(notify, "directory", 0));
    CALL("add, only a directory", inotify_add_watch(notify, "directory/late", IN_CREATE | IN_ONLYDIR));
    CALL("add, descriptor of another kind", inotify_add_watch(1, "directory", IN_CREATE));
    directory_watch = inotify_add_watch(notify, "directory", IN_CREATE | IN_ONESHOT);
    close(open("directory/one", O_WRONLY | O_CREAT, 0600));
    close(open("directory/two", O_WRONLY | O_CREAT, 0600));
    print_events("one shot");
    directory_watch = inotify_add_watch(notify, "directory", IN_DELETE_SELF);
    check_remove_tree("directory");
    print_events("the directory goes");
    return 0;
}
