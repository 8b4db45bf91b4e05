// poll, ppoll, select, pselect: what is reported for each kind of descriptor, and the errors.
#include "check.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>

static volatile sig_atomic_t handled;

static void on_signal(int number) {
    (void)number;
    handled++;
}

static void *write_later(void *argument) {
    int *parameters = argument;
    check_await_sleeping(parameters[0]);
    REQUIRE(write(parameters[1], "x", 1) == 1);
    return NULL;
}

int main(void) {
    check_enter_scratch();
    int end[2], pair[2];
    REQUIRE(pipe(end) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int file = open("file", O_RDWR | O_CREAT, 0600), null = open("/dev/null", O_RDWR);
    struct pollfd set[8] = {
        {end[0], POLLIN | POLLOUT, 0}, {end[1], POLLIN | POLLOUT, 0},     {pair[0], POLLIN | POLLOUT, 0},
        {file, POLLIN | POLLOUT, 0},   {null, POLLIN | POLLOUT | POLLPRI, 0}, {1000, POLLIN, 0},
        {-1, POLLIN, 77},              {end[1], 0, 0},
    };
    CALL("poll of eight", poll(set, 8, 0));
    const char *names[8] = {"read end", "write end", "socket", "regular file", "/dev/null", "closed", "negative", "no events"};
    for (int i = 0; i < 8; i++)
        HEX(names[i], (unsigned short)set[i].revents);
    CALL("poll of nothing", poll(NULL, 0, 5));
    CALL("poll, bad pointer", poll(UNMAPPED, 1, 0));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    setrlimit(RLIMIT_NOFILE, &limit);
    static struct pollfd many[65];
    for (int i = 0; i < 65; i++)
        many[i].fd = -1;
    CALL("poll of more than the limit of descriptors", poll(many, 65, 0));
    struct timespec bad = {0, -1}, brief = {0, 10000000};
    CALL("ppoll, bad timeout", ppoll(set, 1, &bad, NULL));
    CALL("ppoll, wrong mask size", syscall(SYS_ppoll, set, 1, &brief, &limit, 4));
    set[0].events = POLLIN;
    CALL("ppoll, timeout", ppoll(set, 1, &brief, NULL));
    pthread_t thread;
    int parameters[2] = {check_tid(), end[1]};
    REQUIRE(pthread_create(&thread, NULL, write_later, parameters) == 0);
    CALL("poll without limit, data comes", poll(set, 1, -1));
    HEX("reported", set[0].revents);
    pthread_join(thread, NULL);

    sigset_t usr1, none;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    set[0].fd = pair[0];
    CALL("ppoll opens the mask", ppoll(set, 1, &(struct timespec){10, 0}, &none));
    VALUE("handled", handled);
    raise(SIGUSR1);
    set[0].fd = end[0];
    CALL("ppoll with data and a pending signal", ppoll(set, 1, &brief, &none));
    VALUE("handled", handled);
    sigtimedwait(&usr1, NULL, &(struct timespec){0, 0});

    fd_set readable, writable, except;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_ZERO(&except);
    FD_SET(end[0], &readable);
    FD_SET(pair[0], &readable);
    FD_SET(end[1], &writable);
    FD_SET(file, &readable);
    struct timeval zero = {0, 0};
    CALL("select", select(40, &readable, &writable, &except, &zero));
    check_line("ready", "%d %d %d %d", FD_ISSET(end[0], &readable), FD_ISSET(pair[0], &readable),
               FD_ISSET(file, &readable), FD_ISSET(end[1], &writable));
    struct timeval some = {0, 20000};
    FD_ZERO(&readable);
    FD_SET(pair[0], &readable);
    CALL("select, timeout", select(40, &readable, NULL, NULL, &some));
    VALUE("the set is empty", FD_ISSET(pair[0], &readable));
    VALUE("the time is used up", some.tv_usec);
    FD_SET(pair[0], &readable);
    some = (struct timeval){100, 0};
    write(pair[1], "x", 1);
    CALL("select, ready at once", select(40, &readable, NULL, NULL, &some));
    IS("Linux says how much time is left", some.tv_sec >= 50);
    FD_ZERO(&readable);
    FD_SET(50, &readable);
    CALL("select, closed", select(51, &readable, NULL, NULL, &zero));
    CALL("select, negative count", select(-1, NULL, NULL, NULL, &zero));
    some = (struct timeval){-1, 0};
    CALL("select, negative time", select(0, NULL, NULL, NULL, &some));
    CALL("select, bad set", syscall(SYS_select, 10, UNMAPPED, NULL, NULL, &zero));
    raise(SIGUSR1);
    CALL("pselect opens the mask", pselect(0, NULL, NULL, NULL, &(struct timespec){10, 0}, &none));
    VALUE("handled", handled);
    shutdown(pair[1], SHUT_WR);
    set[0] = (struct pollfd){pair[0], POLLIN | POLLRDHUP, 0};
    poll(set, 1, 0);
    HEX("socket, peer shut down writing", set[0].revents);
    close(pair[1]);
    poll(set, 1, 0);
    HEX("socket, peer closed", set[0].revents);
    return 0;
}
