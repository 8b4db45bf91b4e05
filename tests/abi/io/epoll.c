// epoll: control errors, level and edge triggering, one shot, nesting, and what closing does.
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int epoll;

static void print_ready(const char *name, int timeout_ms) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, timeout_ms);
    if (count < 0) {
        check_line(name, "-1 %s", check_errno_name(errno));
        return;
    }
    // The order among several is not promised.
    char text[256] = "";
    for (uint64_t data = 0; data < 10; data++)
        for (int i = 0; i < count; i++)
            if (events[i].data.u64 == data)
                snprintf(text + strlen(text), sizeof text - strlen(text), " %d:0x%x", (int)data, events[i].events);
    check_line(name, "%d%s", count, text);
}

static int control(int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epoll, operation, fd, &event);
}

static volatile sig_atomic_t handled;

static void on_signal(int number) {
    (void)number;
    handled++;
}

static void *wait_one(void *argument) {
    struct epoll_event event;
    (void)argument;
    int count = epoll_wait(epoll, &event, 1, 5000);
    return (void *)(long)count;
}

int main(void) {
    int end[2], pair[2];
    REQUIRE(pipe2(end, O_NONBLOCK) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    CALL_OK("create", epoll = epoll_create1(EPOLL_CLOEXEC));
    CALL_OK("create, old call", epoll_create(1));
    CALL("create, size 0", epoll_create(0));
    CALL("create, unknown flag", epoll_create1(1));

    CALL("add", control(EPOLL_CTL_ADD, end[0], EPOLLIN, 1));
    CALL("add twice", control(EPOLL_CTL_ADD, end[0], EPOLLIN, 1));
    CALL("modify what is not there", control(EPOLL_CTL_MOD, end[1], EPOLLIN, 1));
    CALL("delete what is not there", control(EPOLL_CTL_DEL, end[1], 0, 0));
    CALL("add itself", control(EPOLL_CTL_ADD, epoll, EPOLLIN, 1));
    CALL("add a closed descriptor", control(EPOLL_CTL_ADD, 1000, EPOLLIN, 1));
    CALL("unknown operation", control(9, end[1], EPOLLIN, 1));
    CALL("add, bad pointer", epoll_ctl(epoll, EPOLL_CTL_ADD, end[1], UNMAPPED));
    CALL("delete, null pointer", (control(EPOLL_CTL_ADD, end[1], 0, 5), epoll_ctl(epoll, EPOLL_CTL_DEL, end[1], NULL)));
    CALL("control on a pipe", epoll_ctl(end[0], EPOLL_CTL_DEL, end[1], NULL));
    int directory = open("/", O_RDONLY | O_DIRECTORY), file = open("/proc/self/exe", O_RDONLY);
    CALL("add a directory", control(EPOLL_CTL_ADD, directory, EPOLLIN, 1));
    CALL("add a regular file", control(EPOLL_CTL_ADD, file, EPOLLIN, 1));
    struct epoll_event some[2];
    CALL("wait, no room", epoll_wait(epoll, some, 0, 0));
    CALL("wait, negative room", epoll_wait(epoll, some, -1, 0));
    CALL("wait, bad pointer", epoll_wait(epoll, UNMAPPED, 1, 0));
    CALL("wait on a pipe", epoll_wait(end[0], some, 1, 0));
    CALL("wait on a closed descriptor", epoll_wait(1000, some, 1, 0));
    CALL("read of an epoll descriptor", read(epoll, some, 8));

    print_ready("level: nothing", 0);
    write(end[1], "ab", 2);
    print_ready("level: readable", 0);
    print_ready("level: still", 0);
    char byte;
    read(end[0], &byte, 1);
    print_ready("level: one byte left", 0);
    read(end[0], &byte, 1);
    print_ready("level: empty", 0);

    CALL("modify to edge", control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLET, 2));
    write(end[1], "ab", 2);
    print_ready("edge: first", 0);
    print_ready("edge: silent", 0);
    read(end[0], &byte, 1);
    print_ready("edge: silent after a read", 0);
    write(end[1], "c", 1);
    print_ready("edge: more came", 0);
    control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLET, 2);
    print_ready("edge: modifying looks again", 0);

    CALL("modify to one shot", control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLONESHOT, 3));
    print_ready("one shot: first", 0);
    write(end[1], "d", 1);
    print_ready("one shot: disarmed", 0);
    control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLONESHOT, 3);
    print_ready("one shot: armed again", 0);
    CALL("delete", control(EPOLL_CTL_DEL, end[0], 0, 0));
    print_ready("deleted", 0);

    control(EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 4);
    print_ready("socket: writable", 0);
    write(pair[1], "x", 1);
    print_ready("socket: both", 0);
    shutdown(pair[1], SHUT_WR);
    print_ready("socket: peer shut down writing", 0);
    close(pair[1]);
    print_ready("socket: peer closed", 0);
    close(pair[0]);
    print_ready("closing removes it", 0);

    control(EPOLL_CTL_ADD, end[0], 0, 5);
    control(EPOLL_CTL_ADD, end[1], EPOLLOUT, 6);
    print_ready("no interest, but full", 0);
    int copy = dup(end[0]);
    CALL("add a duplicate", control(EPOLL_CTL_ADD, copy, EPOLLIN, 7));
    print_ready("both names", 0);
    close(copy);
    print_ready("a closed duplicate stays while the file is open", 0);
    close(end[0]);
    print_ready("after the last close", 0);
    close(end[1]);

    int event = eventfd(0, EFD_NONBLOCK), outer = epoll_create1(0), middle = epoll_create1(0);
    struct epoll_event nested = {.events = EPOLLIN};
    control(EPOLL_CTL_ADD, event, EPOLLIN, 8);
    CALL("nest", epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &nested));
    CALL("nest in a circle", epoll_ctl(epoll, EPOLL_CTL_ADD, outer, &nested));
    CALL("nest deeper", epoll_ctl(middle, EPOLL_CTL_ADD, outer, &nested));
    struct pollfd set = {middle, POLLIN, 0};
    CALL("nested: poll of the outermost, nothing", poll(&set, 1, 0));
    uint64_t one = 1;
    write(event, &one, 8);
    CALL("nested: poll of the outermost, ready", poll(&set, 1, 0));
    CALL("nested: wait of the outermost", epoll_wait(middle, some, 2, 0));
    read(event, &one, 8);
    CALL("nested: nothing again", epoll_wait(middle, some, 2, 0));

    // Several sleepers and an exclusive wake: one event, one sleeper gets it when it is edge triggered.
    control(EPOLL_CTL_MOD, event, EPOLLIN | EPOLLET, 8);
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&thread[i], NULL, wait_one, NULL) == 0);
    long total = 0;
    for (int i = 0; i < 3; i++) {
        check_sleep_ms(30);
        write(event, (one = 1, &one), 8);
    }
    for (int i = 0; i < 3; i++) {
        void *count;
        pthread_join(thread[i], &count);
        total += (long)count;
    }
    VALUE("three edges wake three sleepers", total);
    read(event, &one, 8);

    int64_t start = check_now_ns(CLOCK_MONOTONIC);
    print_ready("timeout of 30 ms", 30);
    IS("it waited", check_now_ns(CLOCK_MONOTONIC) - start >= 30000000);
    struct timespec brief = {0, 5000000}, bad = {0, 1000000000};
    CALL("epoll_pwait2, timeout", syscall(SYS_epoll_pwait2, epoll, some, 2, &brief, NULL, 8));
    CALL("epoll_pwait2, bad timeout", syscall(SYS_epoll_pwait2, epoll, some, 2, &bad, NULL, 8));
    CALL("epoll_pwait, wrong mask size", syscall(SYS_epoll_pwait, epoll, some, 2, 0, &one, 4));
    // The mask is changed and restored with the wait, so a pending signal interrupts it at once.
    sigset_t usr1, none;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    CALL("epoll_pwait opens the mask", epoll_pwait(epoll, some, 2, 1000, &none));
    VALUE("the handler ran", handled);
    CALL("exclusive", control(EPOLL_CTL_MOD, event, EPOLLIN | EPOLLEXCLUSIVE, 1));
    control(EPOLL_CTL_DEL, event, 0, 0);
    CALL("exclusive when adding", control(EPOLL_CTL_ADD, event, EPOLLIN | EPOLLEXCLUSIVE, 1));
    CALL("modify an exclusive one", control(EPOLL_CTL_MOD, event, EPOLLIN, 1));
    control(EPOLL_CTL_DEL, event, 0, 0);
    CALL("exclusive and one shot", control(EPOLL_CTL_ADD, event, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
    return 0;
}
