// AF_UNIX stream sockets with names: what every glibc program does once (asking nscd, which is not there), and what
// the JVM's attach mechanism is made of.
#include "check.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

static long connect_to(int fd, const char *path) {
    struct sockaddr_un address = address_of(path);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static void *serve(void *argument) {
    int fd = accept4(*(int *)argument, NULL, NULL, SOCK_CLOEXEC);
    char text[16] = "";
    ssize_t length = read(fd, text, sizeof text);
    for (ssize_t i = 0; i < length; i++)
        text[i] = (char)(text[i] - 'a' + 'A');
    REQUIRE(write(fd, text, (size_t)length) == length);
    close(fd);
    return (void *)length;
}

int main(void) {
    check_enter_scratch();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CALL_OK("socket", fd);
    HEX("flags", fcntl(fd, F_GETFL));
    CALL("connect, as glibc asks nscd", connect_to(fd, "/var/run/nscd/socket"));
    CALL("connect to a file", (close(open("file", O_RDWR | O_CREAT, 0600)), connect_to(fd, "file")));
    CALL("connect to a directory", connect_to(fd, "."));
    CALL("read, not connected", read(fd, &(char){0}, 1));
    CALL("write, not connected", send(fd, "x", 1, MSG_NOSIGNAL));
    CALL("shutdown, not connected", shutdown(fd, SHUT_WR));
    CALL("listen, no name", listen(fd, 5));
    struct sockaddr_un address = address_of("socket"), seen;
    socklen_t length = sizeof seen;
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL("bind", bind(server, (struct sockaddr *)&address, sizeof address));
    CALL("bind again", bind(server, (struct sockaddr *)&address, sizeof address));
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL("bind to a name that is taken", bind(other, (struct sockaddr *)&address, sizeof address));
    struct sockaddr_un far = address_of("missing/socket");
    CALL("bind in a missing directory", bind(other, (struct sockaddr *)&far, sizeof far));
    CALL("bind, address too short", bind(other, (struct sockaddr *)&address, 1));
    CALL("bind, bad pointer", bind(other, UNMAPPED, sizeof address));
    struct stat status;
    CALL("stat of the name", stat("socket", &status));
    IS("it is a socket", S_ISSOCK(status.st_mode));
    CALL("open of the name", open("socket", O_RDWR));
    CALL("connect before listen", connect_to(fd, "socket"));
    CALL("listen", listen(server, 5));
    CALL("getsockname", getsockname(server, (struct sockaddr *)&seen, &length));
    check_line("its name", "%d %.6s", seen.sun_family, seen.sun_path);
    int enabled = 0;
    length = sizeof enabled;
    CALL("SO_ACCEPTCONN", getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &enabled, &length));
    VALUE("listens", enabled);
    fcntl(server, F_SETFL, O_NONBLOCK);
    CALL("accept, nobody", accept(server, NULL, NULL));
    fcntl(server, F_SETFL, 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, serve, &server) == 0);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL("connect", connect_to(client, "socket"));
    CALL("connect twice", connect_to(client, "socket"));
    char text[16] = "";
    CALL("write", write(client, "hello", 5));
    CALL("read", read(client, text, sizeof text));
    TEXT("answer", text);
    CALL("read, the server closed", read(client, text, sizeof text));
    void *served;
    pthread_join(thread, &served);
    VALUE("served", (long)served);
    length = sizeof seen;
    CALL("getpeername", getpeername(client, (struct sockaddr *)&seen, &length));
    struct ucred peer;
    length = sizeof peer;
    CALL("SO_PEERCRED", getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length));
    IS("the peer is us", peer.pid == getpid() && peer.uid == 0 && peer.gid == 0);
    close(client);

    // Connecting needs no accept; the queue of those that wait is bounded.
    int early = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL("connect without accept", connect_to(early, "socket"));
    CALL("write without accept", write(early, "abc", 3));
    struct pollfd set = {server, POLLIN, 0};
    CALL("poll of the server", poll(&set, 1, 1000));
    int accepted = accept(server, (struct sockaddr *)&seen, (length = sizeof seen, &length));
    CALL_OK("accept", accepted);
    check_line("a nameless client", "%d %d", seen.sun_family, (int)length);
    CALL("what was written is there", read(accepted, text, sizeof text));
    HEX("an accepted socket does not inherit flags", fcntl(accepted, F_GETFL));
    CALL("accept4, unknown flag", accept4(server, NULL, NULL, 1));
    close(server);
    CALL("connect, the server is gone", connect_to(other, "socket"));
    CALL("unlink", unlink("socket"));
    CALL("connect, the name is gone", connect_to(other, "socket"));

    // Abstract names: no file, and gone with the socket.
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    // With our pid in it, for all processes of a host share these names.
    int used = snprintf(abstract.sun_path + 1, sizeof abstract.sun_path - 1, "crema-abi-%d", getpid());
    socklen_t abstract_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)used);
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL("bind to an abstract name", bind(server, (struct sockaddr *)&abstract, abstract_length));
    CALL("bind another to it", bind(other, (struct sockaddr *)&abstract, abstract_length));
    CALL("listen", listen(server, 1));
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL("connect to it", connect(client, (struct sockaddr *)&abstract, abstract_length));
    close(server);
    CALL("bind when it is free", bind(other, (struct sockaddr *)&abstract, abstract_length));
    CALL("unknown family", socket(99, SOCK_STREAM, 0));
    CALL("unknown type", socket(AF_UNIX, 99, 0));
    CALL("connect, other family", connect(client, (struct sockaddr *)&(struct sockaddr){.sa_family = 99}, 16));
    CALL("connect on a file", connect_to(open("file", O_RDONLY), "socket"));
    return 0;
}
