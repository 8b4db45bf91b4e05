// Bytes over TCP: flags of send and recv, counts, timeouts, marks, and long streams that arrive whole.
#include "tcp.h"
#include <sys/time.h>
#include <netdb.h>

static void flags(void) {
    int pair[2];
    tcp_pair(pair);
    char text[64] = "";
    CALL("recv with MSG_DONTWAIT of nothing", recv(pair[1], text, sizeof text, MSG_DONTWAIT));
    CALL("recv of no bytes", recv(pair[1], text, 0, MSG_DONTWAIT));
    CALL("read of no bytes", read(pair[1], text, 0));
    CALL("send of no bytes", send(pair[0], text, 0, 0));
    CALL("write", write(pair[0], "abcdef", 6));
    tcp_await_bytes(pair[1], 6);
    VALUE("FIONREAD", tcp_readable(pair[1]));
    HEX("poll", tcp_poll(pair[1]));
    CALL("recv with MSG_PEEK", recv(pair[1], text, 4, MSG_PEEK));
    check_line("peeked", "%.4s", text);
    VALUE("all is still there", tcp_readable(pair[1]));
    CALL("recv with MSG_TRUNC throws away", recv(pair[1], NULL, 2, MSG_TRUNC));
    CALL("recv", recv(pair[1], text, sizeof text, 0));
    check_line("the rest", "%.4s", text);
    CALL("write three", write(pair[0], "one", 3));
    CALL("write three more", write(pair[0], "two", 3));
    CALL("recv with MSG_WAITALL", recv(pair[1], text, 6, MSG_WAITALL));
    check_line("both", "%.6s", text);
    CALL("send to a bad pointer", send(pair[0], UNMAPPED, 4, 0));
    CALL("recv to a bad pointer, nothing there", recv(pair[1], UNMAPPED, 4, MSG_DONTWAIT));
    REQUIRE(write(pair[0], "wxyz", 4) == 4);
    tcp_await_bytes(pair[1], 4);
    CALL("recv to a bad pointer", recv(pair[1], UNMAPPED, 4, 0));
    VALUE("nothing is lost", tcp_readable(pair[1]));
    struct iovec out[3] = {{"12", 2}, {"", 0}, {"345", 3}};
    CALL("writev", writev(pair[0], out, 3));
    tcp_await_bytes(pair[1], 9);
    char first[3] = "", second[16] = "";
    struct iovec in[2] = {{first, 2}, {second, sizeof second}};
    CALL("readv", readv(pair[1], in, 2));
    check_line("parts", "%s %s", first, second);
    CALL("send with MSG_MORE", send(pair[0], "more", 4, MSG_MORE));
    CALL("and without", send(pair[0], "end", 3, 0));
    CALL("recv of both", recv(pair[1], text, 7, MSG_WAITALL));
    check_line("both are", "%.7s", text);
    tcp_set(pair[0], IPPROTO_TCP, TCP_CORK, 1);
    CALL("send corked", send(pair[0], "cork", 4, 0));
    tcp_set(pair[0], IPPROTO_TCP, TCP_CORK, 0);
    CALL("recv uncorked", recv(pair[1], text, 4, MSG_WAITALL));
    struct msghdr message = {.msg_iov = in, .msg_iovlen = 2};
    REQUIRE(write(pair[0], "message", 7) == 7);
    tcp_await_bytes(pair[1], 7);
    CALL("recvmsg", recvmsg(pair[1], &message, 0));
    VALUE("its flags", message.msg_flags);
    VALUE("its address's length", message.msg_namelen);
    VALUE("its control data's length", message.msg_controllen);
    CALL("recv from the error queue", recv(pair[1], text, 1, MSG_ERRQUEUE));
    tcp_close_pair(pair);
}

static void low_water_and_timeouts(void) {
    int pair[2];
    tcp_pair(pair);
    char text[64];
    tcp_set(pair[1], SOL_SOCKET, SO_RCVLOWAT, 5);
    VALUE("SO_RCVLOWAT", tcp_get(pair[1], SOL_SOCKET, SO_RCVLOWAT));
    REQUIRE(write(pair[0], "abc", 3) == 3);
    tcp_await_bytes(pair[1], 3);
    HEX("poll below the mark", tcp_poll(pair[1]));
    CALL("recv below the mark, not waiting", recv(pair[1], text, 2, MSG_DONTWAIT));
    REQUIRE(write(pair[0], "defgh", 5) == 5);
    HEX("poll above the mark", tcp_poll_for(pair[1], POLLIN));
    CALL("recv above the mark", recv(pair[1], text, sizeof text, 0));
    struct timeval soon = {0, 20000}, seen = {0};
    CALL("SO_RCVTIMEO", setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
    socklen_t length = sizeof seen;
    CALL("get it", getsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &seen, &length));
    check_line("it is", "%ld s %ld us", (long)seen.tv_sec, (long)seen.tv_usec);
    CALL("recv that times out", recv(pair[1], text, 1, 0));
    REQUIRE(write(pair[0], "abc", 3) == 3);
    CALL("recv of all that times out", recv(pair[1], text, 10, MSG_WAITALL));
    soon.tv_usec = 2000000;
    CALL("a bad timeout", setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
    soon.tv_usec = 20000;
    CALL("SO_SNDTIMEO", setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon));
    static char block[1 << 16];
    long sent = 1;
    while (sent > 0)
        sent = send(pair[0], block, sizeof block, 0);
    check_result("send that times out", sent, errno);
    HEX("poll of a full connection", tcp_poll(pair[0]));
    int unsent = 0;
    CALL("SIOCOUTQ", ioctl(pair[0], SIOCOUTQ, &unsent));
    IS("bytes wait", unsent > 0);
    struct timeval none = {0, 0};
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
    while ((sent = send(pair[0], block, sizeof block, MSG_DONTWAIT)) > 0) {
    }
    check_result("send that would wait", sent, errno);
    long drained = 0, now;
    while ((now = recv(pair[1], block, sizeof block, MSG_DONTWAIT)) > 0 || tcp_get(pair[0], SOL_SOCKET, SO_ERROR) ||
           (ioctl(pair[0], SIOCOUTQ, &unsent) == 0 && unsent > 0))
        drained += now > 0 ? now : 0;
    IS("much was on its way", drained > 65536);
    HEX("poll when it is empty again", tcp_poll_for(pair[0], POLLOUT));
    CALL("SIOCOUTQ of nothing", (ioctl(pair[0], SIOCOUTQ, &unsent), unsent));
    CALL("SIOCOUTQNSD of nothing", (ioctl(pair[0], SIOCOUTQNSD, &unsent), unsent));
    tcp_close_pair(pair);
    int listener = tcp_listener(1);
    soon.tv_usec = 20000;
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    CALL("accept that times out", accept(listener, NULL, NULL));
    close(listener);
}

static void urgent(void) {
    int pair[2];
    tcp_pair(pair);
    char text[16] = "";
    int mark = -1;
    CALL("recv of no urgent byte", recv(pair[1], text, 1, MSG_OOB));
    CALL("send", send(pair[0], "abc", 3, 0));
    CALL("send urgent", send(pair[0], "U", 1, MSG_OOB));
    CALL("send after it", send(pair[0], "def", 3, 0));
    HEX("poll", tcp_poll_for(pair[1], POLLIN | POLLPRI));
    while (tcp_readable(pair[1]) < 3)
        check_sleep_ms(1);
    CALL("SIOCATMARK before it", (ioctl(pair[1], SIOCATMARK, &mark), mark));
    CALL("recv up to the mark", recv(pair[1], text, sizeof text, 0));
    CALL("SIOCATMARK at it", (ioctl(pair[1], SIOCATMARK, &mark), mark));
    CALL("recv of the urgent byte", recv(pair[1], text, 1, MSG_OOB));
    check_line("it is", "%c", text[0]);
    CALL("recv of it again", recv(pair[1], text, 1, MSG_OOB));
    CALL("recv of the rest", recv(pair[1], text, 3, MSG_WAITALL));
    check_line("the rest is", "%.3s", text);
    tcp_set(pair[1], SOL_SOCKET, SO_OOBINLINE, 1);
    CALL("send urgent again", send(pair[0], "xV", 2, MSG_OOB));
    tcp_poll_for(pair[1], POLLPRI);
    tcp_await_bytes(pair[1], 2);
    CALL("recv before it", recv(pair[1], text, 8, 0));
    CALL("SIOCATMARK at it inline", (ioctl(pair[1], SIOCATMARK, &mark), mark));
    CALL("recv of it inline", recv(pair[1], text, 8, 0));
    check_line("inline it is", "%c", text[0]);
    CALL("MSG_OOB when it is inline", recv(pair[1], text, 1, MSG_OOB));
    tcp_close_pair(pair);
}

#define LONG (3 << 20)
static unsigned char *sent_bytes, *received_bytes;

static void *send_all(void *argument) {
    int fd = *(int *)argument;
    size_t sent = 0, step = 1;
    while (sent < LONG) {
        size_t length = step < LONG - sent ? step : LONG - sent;
        ssize_t now = write(fd, sent_bytes + sent, length);
        if (now <= 0)
            break;
        sent += (size_t)now;
        step = step * 3 % 200003 + 1;
    }
    shutdown(fd, SHUT_WR);
    return (void *)sent;
}

static void long_stream(const char *name, int receive_buffer, int nonblocking) {
    int pair[2];
    tcp_pair(pair);
    if (receive_buffer)
        tcp_set(pair[1], SOL_SOCKET, SO_RCVBUF, receive_buffer);
    if (nonblocking)
        tcp_nonblocking(pair[1]);
    memset(received_bytes, 0, LONG);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, send_all, &pair[0]) == 0);
    size_t received = 0;
    for (;;) {
        ssize_t now = read(pair[1], received_bytes + received, LONG - received + 1);
        if (now == -1 && errno == EAGAIN) {
            struct pollfd set = {pair[1], POLLIN, 0};
            poll(&set, 1, -1);
            continue;
        }
        if (now <= 0) {
            VALUE("end", now);
            break;
        }
        received += (size_t)now;
    }
    void *sent;
    pthread_join(thread, &sent);
    check_line(name, "%zu sent, %zu received, %s", (size_t)sent, received,
               memcmp(sent_bytes, received_bytes, LONG) == 0 ? "the same" : "different");
    tcp_close_pair(pair);
}

static void *echo(void *argument) {
    int fd = *(int *)argument;
    char block[8192];
    ssize_t length;
    while ((length = read(fd, block, sizeof block)) > 0)
        if (write(fd, block, (size_t)length) != length)
            break;
    close(fd);
    return NULL;
}

static void both_ways(void) {
    int pair[2];
    tcp_pair(pair);
    pthread_t thread, sender;
    REQUIRE(pthread_create(&thread, NULL, echo, &pair[1]) == 0);
    REQUIRE(pthread_create(&sender, NULL, send_all, &pair[0]) == 0);
    memset(received_bytes, 0, LONG);
    size_t received = 0;
    ssize_t now;
    while ((now = read(pair[0], received_bytes + received, LONG + 1 - received)) > 0)
        received += (size_t)now;
    pthread_join(sender, NULL);
    pthread_join(thread, NULL);
    check_line("echoed", "%zu, %s", received, memcmp(sent_bytes, received_bytes, LONG) == 0 ? "the same" : "different");
    close(pair[0]);
}

int main(void) {
    flags();
    low_water_and_timeouts();
    urgent();
    sent_bytes = malloc(LONG + 1);
    received_bytes = malloc(LONG + 1);
    REQUIRE(sent_bytes && received_bytes);
    tcp_fill(sent_bytes, LONG, 7);
    long_stream("a long stream", 0, 0);
    long_stream("through a small window", 20000, 0);
    long_stream("with poll", 0, 1);
    both_ways();
    return 0;
}
