// Threads as pthreads make them: results, thread-local storage, stacks, detaching, five hundred at once.
#include "check.h"

#define MANY 500

static _Thread_local int local = 11;
static _Thread_local char big_local[20000];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int arrived, released;
static _Atomic int detached_done;
static pthread_key_t key;
static _Atomic int destroyed;

static void *locals(void *argument) {
    long sum = local;
    for (size_t i = 0; i < sizeof big_local; i++)
        sum += big_local[i];
    local = (int)(long)argument;
    memset(big_local, local, sizeof big_local);
    sched_yield();
    return (void *)(sum + local);
}

static void *gather(void *argument) {
    pthread_mutex_lock(&mutex);
    arrived++;
    pthread_cond_broadcast(&condition);
    while (!released)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    return argument;
}

static void *detached(void *argument) {
    detached_done++;
    return argument;
}

static int deep(int depth) {
    volatile char frame[1024];
    frame[0] = (char)depth;
    return depth == 0 ? 0 : deep(depth - 1) + 1 + (frame[0] != (char)depth);
}

static void *deep_thread(void *argument) { return (void *)(long)deep((int)(long)argument); }

static void destroy(void *value) { destroyed += (int)(long)value; }

static void *with_key(void *argument) {
    pthread_setspecific(key, argument);
    return pthread_getspecific(key);
}

static void *cancelled(void *argument) {
    for (;;)
        pause();
    return argument;
}

// A thread that has been joined may still be on its way out, so a count too high is taken again.
static int count_tasks(int expected) {
    int listed = 0;
    for (int attempt = 0; attempt < 1000; attempt++) {
        listed = 0;
        DIR *tasks = opendir("/proc/self/task");
        REQUIRE(tasks != NULL);
        for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
            listed += entry->d_name[0] != '.';
        closedir(tasks);
        if (listed <= expected)
            break;
        check_sleep_ms(1);
    }
    return listed;
}

int main(void) {
    pthread_t thread;
    void *result;
    PTHREAD("create", pthread_create(&thread, NULL, locals, (void *)5));
    PTHREAD("join", pthread_join(thread, &result));
    VALUE("initial thread-locals are fresh", (long)result);
    VALUE("main's local is its own", local);
    VALUE("main's big local too", big_local[100]);

    static pthread_t many[MANY];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    int created = 0;
    for (long i = 0; i < MANY; i++)
        created += pthread_create(&many[i], &small, gather, (void *)i) == 0;
    VALUE("threads created", created);
    pthread_mutex_lock(&mutex);
    while (arrived < created)
        pthread_cond_wait(&condition, &mutex);
    VALUE("all run at once", arrived);
    VALUE("listed in /proc/self/task", count_tasks(created + 1));
    released = 1;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
    long sum = 0;
    for (int i = 0; i < created; i++)
        if (pthread_join(many[i], &result) == 0)
            sum += (long)result;
    VALUE("sum of their results", sum);

    for (int i = 0; i < 50; i++)
        if (pthread_create(&thread, NULL, detached, NULL) == 0)
            pthread_detach(thread);
    while (detached_done < 50)
        sched_yield();
    VALUE("detached threads ran", detached_done);

    pthread_attr_t large;
    pthread_attr_init(&large);
    PTHREAD("stack of 64 MiB", pthread_attr_setstacksize(&large, 64 << 20));
    REQUIRE(pthread_create(&thread, &large, deep_thread, (void *)50000) == 0);
    pthread_join(thread, &result);
    VALUE("fifty thousand frames", (long)result);
    PTHREAD("stack below the minimum", pthread_attr_setstacksize(&large, 1024));

    static char own_stack[256 * 1024] __attribute__((aligned(4096)));
    pthread_attr_t given;
    pthread_attr_init(&given);
    pthread_attr_setstack(&given, own_stack, sizeof own_stack);
    REQUIRE(pthread_create(&thread, &given, deep_thread, (void *)100) == 0);
    pthread_join(thread, &result);
    VALUE("a stack of our own", (long)result);

    pthread_key_create(&key, destroy);
    REQUIRE(pthread_create(&thread, NULL, with_key, (void *)9) == 0);
    pthread_join(thread, &result);
    VALUE("thread-specific value", (long)result);
    VALUE("destructor ran with", destroyed);

    REQUIRE(pthread_create(&thread, NULL, cancelled, NULL) == 0);
    PTHREAD("cancel", pthread_cancel(thread));
    PTHREAD("join cancelled", pthread_join(thread, &result));
    IS("result is PTHREAD_CANCELED", result == PTHREAD_CANCELED);
    PTHREAD("join oneself", pthread_join(pthread_self(), NULL));

    int churn = 0;
    for (int i = 0; i < 2000; i++)
        if (pthread_create(&thread, &small, detached, (void *)1L) == 0 && pthread_join(thread, &result) == 0)
            churn += (int)(long)result;
    VALUE("two thousand one after another", churn);
    return 0;
}
