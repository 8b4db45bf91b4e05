// abort(3): SIGABRT kills, even when it is handled and blocked.
#include "check.h"

static void handler(int number) {
    (void)number;
    TEXT("handler", "ran");
}

int main(void) {
    sigset_t set;
    signal(SIGABRT, handler);
    sigemptyset(&set);
    sigaddset(&set, SIGABRT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    abort();
}
