// Dies of a fault that nothing handles.
#include "check.h"

int main(void) {
    TEXT("before", "the fault");
    (void)*(volatile char *)UNMAPPED;
    TEXT("after", "the fault");
    return 0;
}
