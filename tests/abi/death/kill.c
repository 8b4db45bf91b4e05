// SIGKILL from one thread ends all.
#include "check.h"

static void *spin(void *argument) {
    for (;;)
        sched_yield();
    return argument;
}

int main(void) {
    pthread_t thread;
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread, NULL, spin, NULL) == 0);
    TEXT("before", "SIGKILL");
    kill(getpid(), SIGKILL);
    TEXT("after", "SIGKILL");
    return 0;
}
