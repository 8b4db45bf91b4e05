// Dies of a signal sent by another thread while the main thread sleeps.
#include "check.h"

static void *send(void *argument) {
    check_await_sleeping((pid_t)(long)argument);
    kill(getpid(), SIGTERM);
    return NULL;
}

int main(void) {
    pthread_t thread;
    TEXT("before", "SIGTERM");
    REQUIRE(pthread_create(&thread, NULL, send, (void *)(long)check_tid()) == 0);
    for (;;)
        pause();
}
