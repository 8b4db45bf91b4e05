// Many threads change one address space: faults against mmap, munmap, mprotect and madvise, with a TLB to be
// flushed on every CPU.
#include "fault.h"

#define PAGES 64
#define ROUNDS 300

static char *area;
static _Atomic bool finished;
static _Atomic long wrong;
static _Thread_local sigjmp_buf thread_return;

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)area;
    if (offset >= PAGES * PAGE)
        wrong++;
    siglongjmp(thread_return, 1);
}

// Which page is closed, as 2 * round + 1, or 2 * round while none is. The page of a round is round % PAGES.
static _Atomic long state;

static void *watch(void *argument) {
    (void)argument;
    while (!finished) {
        long before = state;
        if (before % 2 == 0) {
            sched_yield();
            continue;
        }
        if (sigsetjmp(thread_return, 1) == 0) {
            (void)*(volatile char *)(area + before / 2 % PAGES * PAGE);
            // It worked: wrong if the page was closed all the time.
            if (state == before)
                wrong++;
        }
    }
    return NULL;
}

static void *churn(void *argument) {
    long sum = 0;
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        long *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return (void *)-1;
        for (int page = 0; page < 8; page++) {
            sum += memory[page * 512];
            memory[page * 512] = i;
            sum += memory[page * 512];
        }
        munmap(memory, 8 * PAGE);
    }
    return (void *)sum;
}

static void *touch_same(void *argument) {
    long me = (long)argument;
    for (int page = 0; page < PAGES; page++)
        __atomic_fetch_add((long *)(area + page * PAGE) + me, 1 + me, __ATOMIC_RELAXED);
    return NULL;
}

int main(void) {
    check_catch(SIGSEGV, on_fault, 0);
    area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(area != MAP_FAILED);
    pthread_t thread[8];
    void *result;
    for (long i = 0; i < 8; i++)
        REQUIRE(pthread_create(&thread[i], NULL, touch_same, (void *)i) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
    long sum = 0;
    for (int i = 0; i < PAGES * 512; i++)
        sum += ((long *)area)[i];
    VALUE("first touches by eight threads at once", sum);

    long total = 0;
    for (int i = 0; i < 8; i++)
        REQUIRE(pthread_create(&thread[i], NULL, churn, NULL) == 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(thread[i], &result);
        total += (long)result;
    }
    VALUE("map, touch, unmap by eight threads", total);

    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&thread[i], NULL, watch, NULL) == 0);
    for (long round = 0; round < 600; round++) {
        char *page = area + round % PAGES * PAGE;
        *(volatile char *)page = 1;
        REQUIRE(mprotect(page, PAGE, PROT_NONE) == 0);
        state = 2 * round + 1;
        sched_yield();
        state = 2 * round + 2;
        REQUIRE(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
    }
    finished = true;
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    VALUE("reads of a closed page that succeeded", wrong);
    return 0;
}
