// The main thread ends first: the process lives on until its last thread ends, with status 0 from exit of that thread.
#include "check.h"

static pid_t main_tid;

static void *last(void *argument) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", main_tid);
    // The leader of a thread group stays as a zombie.
    for (;;) {
        int fd = open(path, O_RDONLY);
        REQUIRE(fd >= 0);
        ssize_t length = read(fd, text, sizeof text - 1);
        close(fd);
        REQUIRE(length > 0);
        if (strrchr(text, ')')[2] == 'Z')
            break;
        check_sleep_ms(1);
    }
    TEXT("the main thread is", "a zombie");
    CALL("signal 0 to it", syscall(SYS_tgkill, getpid(), main_tid, 0));
    IS("getpid is as before", getpid() == main_tid);
    check_sleep_ms(10);
    TEXT("the last thread", "ends");
    return argument;
}

int main(void) {
    pthread_t thread;
    main_tid = check_tid();
    REQUIRE(pthread_create(&thread, NULL, last, NULL) == 0);
    pthread_exit(NULL);
}
