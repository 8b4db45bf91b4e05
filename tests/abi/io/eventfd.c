// eventfd(2): counter and semaphore, limits, poll, blocking.
#include "check.h"
#include <poll.h>
#include <sys/eventfd.h>

static int blocking;

static void *wait_event(void *argument) {
    (void)argument;
    uint64_t value = 0;
    REQUIRE(read(blocking, &value, 8) == 8);
    return (void *)value;
}

static void *fill_event(void *argument) {
    uint64_t value = 5;
    (void)argument;
    return (void *)write(blocking, &value, 8);
}

int main(void) {
    uint64_t value = 0;
    int fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
    CALL_OK("eventfd", fd);
    HEX("flags", fcntl(fd, F_GETFL));
    VALUE("close on exec", fcntl(fd, F_GETFD));
    CALL("read", read(fd, &value, 8));
    VALUE("initial value", value);
    CALL("read of zero", read(fd, &value, 8));
    struct pollfd set = {fd, POLLIN | POLLOUT, 0};
    poll(&set, 1, 0);
    HEX("poll of zero", set.revents);
    value = 4;
    CALL("write 4", write(fd, &value, 8));
    value = 6;
    CALL("write 6", write(fd, &value, 8));
    poll(&set, 1, 0);
    HEX("poll of ten", set.revents);
    CALL("read, large buffer", read(fd, (uint64_t[4]){0}, 32));
    value = UINT64_MAX;
    CALL("write all ones", write(fd, &value, 8));
    value = UINT64_MAX - 1;
    CALL("write the maximum", write(fd, &value, 8));
    poll(&set, 1, 0);
    HEX("poll of the maximum", set.revents);
    value = 1;
    CALL("one more", write(fd, &value, 8));
    value = 0;
    CALL("nothing more", write(fd, &value, 8));
    CALL("read the maximum", read(fd, &value, 8));
    IS("it is the maximum", value == UINT64_MAX - 1);
    CALL("read, small buffer", read(fd, &value, 7));
    CALL("write, small buffer", write(fd, &value, 7));
    CALL("read, bad buffer", (value = 1, write(fd, &value, 8), read(fd, UNMAPPED, 8)));
    CALL("write, bad buffer", write(fd, UNMAPPED, 8));
    CALL("unknown flag", eventfd(0, 0x1000));

    int semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    CALL("semaphore, first", (read(semaphore, &value, 8), value));
    CALL("semaphore, second", (read(semaphore, &value, 8), value));
    CALL("semaphore, third", read(semaphore, &value, 8));

    blocking = eventfd(0, 0);
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, wait_event, NULL) == 0);
    check_sleep_ms(20);
    value = 9;
    write(blocking, &value, 8);
    pthread_join(thread, &result);
    VALUE("a blocked reader got", (long)result);
    value = UINT64_MAX - 2;
    write(blocking, &value, 8);
    REQUIRE(pthread_create(&thread, NULL, fill_event, NULL) == 0);
    check_sleep_ms(20);
    read(blocking, &value, 8);
    pthread_join(thread, &result);
    VALUE("a blocked writer wrote", (long)result);
    read(blocking, &value, 8);
    VALUE("what it wrote", value);
    char link[64], path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, link, sizeof link);
    check_line("its name in /proc", "%.*s", (int)(length > 0 ? length : 0), link);
    return 0;
}
