// Errors of datagram sockets: ICMP's, the queue of errors, shutdown, wrong arguments, time-outs, signals.
#include "udp.h"
#include <linux/errqueue.h>

// A port of the loopback where nobody is.
static uint16_t closed_port(void) {
    int fd = v4_bound();
    uint16_t port = port_of(fd);
    close(fd);
    return port;
}

static void refused(void) {
    char byte;
    int fd = v4_socket();
    REQUIRE(v4_connect(fd, INADDR_LOOPBACK, closed_port()) == 0);
    CALL("send to a closed port", send(fd, "x", 1, 0));
    CALL("receive tells", recv(fd, &byte, 1, 0));
    CALL("once", recv(fd, &byte, 1, MSG_DONTWAIT));
    REQUIRE(send(fd, "x", 1, 0) == 1);
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT};
    while (poll(&entry, 1, 1000) == 1 && !(entry.revents & POLLERR))
        check_sleep_ms(1);
    HEX("poll tells", entry.revents);
    VALUE("SO_ERROR tells", get_number(fd, SOL_SOCKET, SO_ERROR));
    VALUE("once, too", get_number(fd, SOL_SOCKET, SO_ERROR));
    close(fd);
    fd = v4_socket();
    CALL("not connected", v4_send(fd, "x", 1, INADDR_LOOPBACK, closed_port()));
    check_sleep_ms(50);
    CALL("nobody tells", recv(fd, &byte, 1, MSG_DONTWAIT));
    close(fd);
    fd = v6_socket();
    REQUIRE(v6_connect(fd, "::1", closed_port()) == 0);
    CALL("IPv6: send to a closed port", send(fd, "x", 1, 0));
    CALL("IPv6: receive tells", recv(fd, &byte, 1, 0));
    close(fd);
}

static void queue(int family) {
    bool v4 = family == AF_INET;
    int fd = v4 ? v4_socket() : v6_socket();
    int level = v4 ? IPPROTO_IP : IPPROTO_IPV6, option = v4 ? IP_RECVERR : IPV6_RECVERR;
    CALL("RECVERR", set_number(fd, level, option, 1));
    VALUE("is on", get_number(fd, level, option));
    uint16_t port = closed_port();
    if (v4)
        CALL("send", v4_send(fd, "payload", 7, INADDR_LOOPBACK, port));
    else
        CALL("send", v6_send(fd, "payload", 7, "::1", port));
    struct pollfd entry = {.fd = fd, .events = 0};
    CALL("poll", poll(&entry, 1, 10000));
    HEX("tells of an error", entry.revents);
    char data[64], control[256];
    struct sockaddr_storage name;
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    CALL("receive from the queue of errors", recvmsg(fd, &message, MSG_ERRQUEUE));
    HEX("flags", message.msg_flags);
    IS("what was sent", memcmp(data, "payload", 7) == 0);
    TEXT("to whom", address_text((struct sockaddr *)&name));
    IS("to which port", ntohs(((struct sockaddr_in *)&name)->sin_port) == port);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    IS("control data", header != NULL);
    if (header) {
        VALUE("level", header->cmsg_level);
        VALUE("type", header->cmsg_type);
        struct sock_extended_err error;
        memcpy(&error, CMSG_DATA(header), sizeof error);
        VALUE("error", error.ee_errno);
        VALUE("origin", error.ee_origin);
        VALUE("ICMP type", error.ee_type);
        VALUE("ICMP code", error.ee_code);
        TEXT("offender", address_text((struct sockaddr *)(CMSG_DATA(header) + sizeof error)));
    }
    CALL("queue is empty", recvmsg(fd, &message, MSG_ERRQUEUE));
    VALUE("SO_ERROR", get_number(fd, SOL_SOCKET, SO_ERROR));
    close(fd);
}

static void shut(void) {
    char byte;
    int fd = v4_bound();
    CALL("shutdown, not connected", shutdown(fd, SHUT_RDWR));
    REQUIRE(v4_connect(fd, INADDR_LOOPBACK, port_of(fd)) == 0);
    close(fd);
    fd = v4_bound();
    REQUIRE(v4_connect(fd, INADDR_LOOPBACK, port_of(fd)) == 0);
    CALL("shutdown of what there is not", shutdown(fd, 3));
    CALL("shutdown of sending", shutdown(fd, SHUT_WR));
    CALL("send", send(fd, "x", 1, 0));
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    CALL("poll", poll(&entry, 1, 0));
    HEX("events", entry.revents);
    CALL("shutdown of receiving", shutdown(fd, SHUT_RD));
    CALL("receive", recv(fd, &byte, 1, 0));
    CALL("receive without waiting", recv(fd, &byte, 1, MSG_DONTWAIT));
    CALL("poll again", poll(&entry, 1, 0));
    HEX("all events", entry.revents);
    close(fd);
}

static void arguments(void) {
    int fd = v4_bound();
    char byte;
    CALL("send to port 0", v4_send(fd, "x", 1, INADDR_LOOPBACK, 0));
    struct sockaddr_in address = v4_address(INADDR_LOOPBACK, 9);
    CALL("send, address too short", sendto(fd, "x", 1, 0, (struct sockaddr *)&address, 8));
    address.sin_family = AF_UNIX;
    CALL("send, other family", sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address));
    CALL("connect, other family", connect(fd, (struct sockaddr *)&address, sizeof address));
    CALL("connect, too short", connect(fd, (struct sockaddr *)&address, 1));
    CALL("send, data unmapped", v4_send(fd, UNMAPPED, 4, INADDR_LOOPBACK, port_of(fd)));
    CALL("send out of band", send(fd, "x", 1, MSG_OOB));
    CALL("broadcast without leave", v4_send(fd, "x", 1, 0x7fffffff, 9));
    CALL("send to ourselves", v4_send(fd, "x", 1, INADDR_LOOPBACK, port_of(fd)));
    REQUIRE(await_input(fd) == 1);
    CALL("receive to unmapped memory", recv(fd, UNMAPPED, 4, 0));
    CALL("the datagram is gone", recv(fd, &byte, 1, MSG_DONTWAIT));
    struct timeval time = {0, 20000};
    CALL("SO_RCVTIMEO", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    CALL("receive times out", recv(fd, &byte, 1, 0));
    time.tv_usec = 1000000;
    CALL("SO_RCVTIMEO with too many microseconds", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    CALL("SO_RCVTIMEO too short", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, 8));
    close(fd);
    CALL("socketpair", socketpair(AF_INET, SOCK_DGRAM, 0, (int[2]){0}));
}

static int waiting_fd;
static long wait_result;
static int wait_error;
static pid_t waiter_tid;
static atomic_int is_there;

static void *wait_for_data(void *unused) {
    (void)unused;
    char byte;
    waiter_tid = check_tid();
    atomic_store(&is_there, 1);
    errno = 0;
    wait_result = recv(waiting_fd, &byte, 1, 0);
    wait_error = errno;
    return NULL;
}

static void on_signal(int number) { (void)number; }

static pthread_t start_waiter(void) {
    pthread_t thread;
    atomic_store(&is_there, 0);
    REQUIRE(pthread_create(&thread, NULL, wait_for_data, NULL) == 0);
    while (!atomic_load(&is_there))
        sched_yield();
    check_await_sleeping(waiter_tid);
    return thread;
}

static void interruption(void) {
    struct sigaction action = {.sa_handler = on_signal};
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    waiting_fd = v4_bound();
    pthread_t thread = start_waiter();
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    check_result("a signal ends a receive", wait_result, wait_error);
    // What the JDK does to wake a thread that waits when another one closes the socket.
    int marker[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, marker) == 0 && shutdown(marker[0], SHUT_RDWR) == 0);
    thread = start_waiter();
    CALL_OK("dup2 over the socket", dup2(marker[0], waiting_fd));
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    check_result("then a signal ends the receive", wait_result, wait_error);
    char byte;
    CALL("and the next one finds the marker", recv(waiting_fd, &byte, 1, 0));
    close(waiting_fd);
    action.sa_flags = SA_RESTART;
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    waiting_fd = v4_bound();
    thread = start_waiter();
    pthread_kill(thread, SIGUSR1);
    check_sleep_ms(20);
    int sender = v4_socket();
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port_of(waiting_fd));
    pthread_join(thread, NULL);
    check_result("with SA_RESTART it goes on", wait_result, wait_error);
    thread = start_waiter();
    shutdown(waiting_fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    check_result("a shutdown ends it", wait_result, wait_error);
    close(waiting_fd);
    close(sender);
}

int main(void) {
    refused();
    queue(AF_INET);
    queue(AF_INET6);
    shut();
    arguments();
    interruption();
}
