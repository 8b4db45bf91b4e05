// Ignoring SIGSEGV does not help against a real fault, only against kill.
#include "check.h"

int main(void) {
    signal(SIGSEGV, SIG_IGN);
    CALL("kill", kill(getpid(), SIGSEGV));
    TEXT("after", "kill");
    *(volatile char *)UNMAPPED = 1;
    TEXT("after", "the fault");
    return 0;
}
