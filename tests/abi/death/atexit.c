// exit(3) runs handlers in reverse order, then the status arrives.
#include "check.h"

static void first(void) { TEXT("runs", "last"); }
static void second(void) { TEXT("runs", "first"); }
__attribute__((destructor)) static void destructor(void) { TEXT("destructor", "after the handlers"); }

int main(void) {
    atexit(first);
    atexit(second);
    exit(42);
}
