// The raw exit of every thread: the process's status is that of the last one (since Linux 5.19).
#include "check.h"

static void *body(void *argument) {
    check_sleep_ms(20);
    syscall(SYS_exit, 9);
    return argument;
}

int main(void) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, body, NULL) == 0);
    TEXT("main", "leaves with 5");
    syscall(SYS_exit, 5);
}
