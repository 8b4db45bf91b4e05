// AF_UNIX socket pairs: streams, shutdown, messages, errors. NIO wakes its selectors with one.
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static volatile sig_atomic_t broken;

static void on_pipe(int number) {
    (void)number;
    broken++;
}

static char buffer[1 << 20];

static void *blocked_receive(void *argument) {
    char data[10];
    return (void *)recv(*(int *)argument, data, sizeof data, MSG_WAITALL);
}

int main(void) {
    int pair[2];
    signal(SIGPIPE, on_pipe);
    CALL("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    HEX("flags", fcntl(pair[0], F_GETFL));
    CALL("write", write(pair[0], "hello", 5));
    CALL("write more", send(pair[0], " world", 6, 0));
    int waiting = 0;
    CALL("FIONREAD", ioctl(pair[1], FIONREAD, &waiting));
    VALUE("waiting", waiting);
    CALL("peek", recv(pair[1], buffer, 100, MSG_PEEK));
    CALL("read part", read(pair[1], buffer, 8));
    CALL("read rest", recv(pair[1], buffer, 100, 0));
    CALL("receive, nothing, at once", recv(pair[1], buffer, 100, MSG_DONTWAIT));
    CALL("other direction", write(pair[1], "back", 4));
    CALL("read it", read(pair[0], buffer, 100));
    CALL("lseek", lseek(pair[0], 0, SEEK_SET));
    CALL("pread", pread(pair[0], buffer, 1, 0));
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, blocked_receive, &pair[1]) == 0);
    write(pair[0], "12345", 5);
    check_sleep_ms(10);
    write(pair[0], "67890", 5);
    pthread_join(thread, &result);
    VALUE("wait for all", (long)result);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    long total = 0, sent;
    while ((sent = write(pair[0], buffer, 8192)) > 0)
        total += sent;
    check_line("full", "%s", check_errno_name(errno));
    IS("it held something", total >= 65536);
    struct pollfd set = {pair[0], POLLOUT, 0};
    CALL("poll, full", poll(&set, 1, 0));
    while (total > 0 && (sent = read(pair[1], buffer, sizeof buffer)) > 0)
        total -= sent;
    VALUE("all of it came", total);
    CALL("poll, empty", poll(&set, 1, 0));

    int kind = 0;
    socklen_t length = sizeof kind;
    CALL("getsockopt SO_TYPE", getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &kind, &length));
    VALUE("stream", kind);
    CALL("getsockopt SO_ERROR", getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &kind, &length));
    VALUE("no error", kind);
    struct ucred peer;
    length = sizeof peer;
    CALL("getsockopt SO_PEERCRED", getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &length));
    IS("it is us", peer.pid == getpid() && peer.uid == getuid());
    struct sockaddr_un address;
    length = sizeof address;
    CALL("getsockname", getsockname(pair[0], (struct sockaddr *)&address, &length));
    check_line("nameless", "%d %d", address.sun_family, (int)length);
    CALL("getpeername", getpeername(pair[0], (struct sockaddr *)&address, &length));
    CALL("listen", listen(pair[0], 5));
    CALL("accept", accept(pair[0], NULL, NULL));

    CALL("shutdown of writing", shutdown(pair[0], SHUT_WR));
    CALL("end of file at the other side", read(pair[1], buffer, 10));
    CALL("write after shutdown", write(pair[0], "x", 1));
    VALUE("SIGPIPE", broken);
    CALL("send without signal", send(pair[0], "x", 1, MSG_NOSIGNAL));
    VALUE("SIGPIPE", broken);
    CALL("the other direction lives", write(pair[1], "still", 5));
    CALL("read it", read(pair[0], buffer, 10));
    CALL("shutdown, unknown", shutdown(pair[0], 7));
    CALL("shutdown of reading", shutdown(pair[0], SHUT_RD));
    CALL("write to one that does not read", write(pair[1], "x", 1));
    close(pair[1]);
    CALL("read, peer closed", read(pair[0], buffer, 10));
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    write(pair[0], "unread", 6);
    close(pair[1]);
    CALL("read, peer closed with data unread", read(pair[0], buffer, 10));
    CALL("and again", read(pair[0], buffer, 10));

    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    VALUE("close on exec", fcntl(pair[0], F_GETFD));
    CALL("datagram", send(pair[0], "one", 3, 0));
    CALL("datagram of nothing", send(pair[0], "", 0, 0));
    CALL("datagram", send(pair[0], "three", 5, 0));
    CALL("boundaries", recv(pair[1], buffer, 100, 0));
    CALL("boundaries", recv(pair[1], buffer, 100, 0));
    CALL("cut", recv(pair[1], buffer, 2, MSG_TRUNC));
    CALL("nothing", recv(pair[1], buffer, 2, 0));
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    CALL("packet", send(pair[0], "abc", 3, 0));
    CALL("read packet, cut", read(pair[1], buffer, 2));

    // A descriptor travels through the socket.
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int end[2];
    REQUIRE(pipe(end) == 0);
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 'd';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &end[1], sizeof(int));
    CALL("send a descriptor", sendmsg(pair[0], &message, 0));
    memset(control, 0, sizeof control);
    message.msg_controllen = sizeof control;
    CALL("receive it", recvmsg(pair[1], &message, 0));
    int received = -1;
    header = CMSG_FIRSTHDR(&message);
    if (header)
        memcpy(&received, CMSG_DATA(header), sizeof(int));
    CALL("write to it", write(received, "through", 7));
    CALL("read from the pipe", read(end[0], buffer, 10));

    CALL("unknown family", socketpair(99, SOCK_STREAM, 0, pair));
    CALL("family without pairs", socketpair(AF_INET, SOCK_STREAM, 0, pair));
    CALL("unknown type", socketpair(AF_UNIX, 99, 0, pair));
    CALL("unknown protocol", socketpair(AF_UNIX, SOCK_STREAM, 99, pair));
    CALL("bad pointer", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, UNMAPPED));
    CALL("socket call on a file", recv(open("/", O_RDONLY), buffer, 1, 0));
    CALL("socket call on a closed descriptor", recv(1000, buffer, 1, 0));
    return 0;
}
