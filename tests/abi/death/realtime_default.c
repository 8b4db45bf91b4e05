// The default action of a real-time signal is to kill; SIGWINCH, SIGCHLD, SIGURG and SIGCONT are ignored by default.
#include "check.h"

int main(void) {
    CALL("SIGWINCH", raise(SIGWINCH));
    CALL("SIGCHLD", raise(SIGCHLD));
    CALL("SIGURG", raise(SIGURG));
    CALL("SIGCONT", raise(SIGCONT));
    raise(SIGRTMIN + 3);
    TEXT("after", "the real-time signal");
    return 0;
}
