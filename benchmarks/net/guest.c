// What `crema bench net` runs in a guest: first the measurements over the loopback, then servers for those from the host.
//
//     net-guest SECONDS
//
// Prints lines `NAME UNIT VALUE`, then `ready`; ends when somebody connects to END_PORT.

#include "net.h"

static void *echo(void *argument) {
    int fd = (int)(intptr_t)argument;
    char block[256];
    for (ssize_t length; (length = read(fd, block, sizeof block)) > 0;)
        if (write(fd, block, (size_t)length) != length)
            break;
    close(fd);
    return NULL;
}

// Says at the end how much it was.
static void *sink(void *argument) {
    int fd = (int)(intptr_t)argument;
    char *block = malloc(BLOCK_BYTES);
    uint64_t bytes = 0;
    for (ssize_t length; (length = read(fd, block, BLOCK_BYTES)) > 0;)
        bytes += (uint64_t)length;
    if (write(fd, &bytes, sizeof bytes) < 0)
        perror("net: sink");
    free(block);
    close(fd);
    return NULL;
}

// Until the other side closes.
static void *source(void *argument) {
    int fd = (int)(intptr_t)argument;
    char *block = calloc(1, BLOCK_BYTES);
    while (write(fd, block, BLOCK_BYTES) > 0)
        continue;
    free(block);
    close(fd);
    return NULL;
}

struct service {
    int port, listener;
    void *(*serve)(void *);
};

static void *accept_all(void *argument) {
    const struct service *service = argument;
    for (;;) {
        int fd = accept(service->listener, NULL, NULL), one = 1;
        if (fd == -1) {
            if (errno == ECONNABORTED)
                continue;
            fail("accept");
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_t thread;
        if (pthread_create(&thread, NULL, service->serve, (void *)(intptr_t)fd) != 0)
            fail("pthread_create");
        pthread_detach(thread);
    }
}

static int listen_on(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd == -1)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == -1 || listen(fd, 512) == -1)
        fail("listen");
    return fd;
}

int main(int count, char **arguments) {
    static struct service services[] = {{ECHO_PORT, -1, echo}, {SINK_PORT, -1, sink}, {SOURCE_PORT, -1, source}};
    double seconds = count == 2 ? atof(arguments[1]) : 0;
    if (seconds <= 0) {
        fputs("usage: net-guest SECONDS\n", stderr);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        pthread_t thread;
        services[i].listener = listen_on(services[i].port);
        if (pthread_create(&thread, NULL, accept_all, &services[i]) != 0)
            fail("pthread_create");
    }
    int end = listen_on(END_PORT);
    measure_round_trips("loopback_round_trips", "127.0.0.1", ECHO_PORT, seconds);
    measure_sending("loopback_stream", "127.0.0.1", SINK_PORT, seconds);
    measure_connections("loopback_connections", "127.0.0.1", ECHO_PORT, seconds);
    puts("ready");
    fflush(stdout);
    int fd = accept(end, NULL, NULL);
    return fd == -1;
}
