// Which sockets there are, and which errors those that are not.
#include "udp.h"
#include <linux/netlink.h>

static void try(const char *name, int family, int type, int protocol) {
    errno = 0;
    int fd = socket(family, type, protocol);
    check_success(name, fd, errno);
    if (fd >= 0) {
        VALUE("  domain", get_number(fd, SOL_SOCKET, SO_DOMAIN));
        VALUE("  type", get_number(fd, SOL_SOCKET, SO_TYPE));
        VALUE("  protocol", get_number(fd, SOL_SOCKET, SO_PROTOCOL));
        close(fd);
    }
}

int main(void) {
    try("TCP", AF_INET, SOCK_STREAM, 0);
    try("TCP by name", AF_INET, SOCK_STREAM, IPPROTO_TCP);
    try("TCP over IPv6", AF_INET6, SOCK_STREAM, 0);
    try("UDP", AF_INET, SOCK_DGRAM, 0);
    try("UDP by name", AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    try("UDP over IPv6", AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
    try("raw ICMP", AF_INET, SOCK_RAW, IPPROTO_ICMP);
    try("raw ICMPv6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    try("raw IP", AF_INET, SOCK_RAW, IPPROTO_RAW);
    try("raw without protocol", AF_INET, SOCK_RAW, 0);
    try("stream of UDP", AF_INET, SOCK_STREAM, IPPROTO_UDP);
    try("datagrams of TCP", AF_INET, SOCK_DGRAM, IPPROTO_TCP);
    try("stream of ICMP", AF_INET, SOCK_STREAM, IPPROTO_ICMP);
    try("protocol -1", AF_INET, SOCK_STREAM, -1);
    try("protocol 1000", AF_INET, SOCK_STREAM, 1000);
    try("SOCK_SEQPACKET", AF_INET, SOCK_SEQPACKET, 0);
    try("SOCK_RDM", AF_INET6, SOCK_RDM, 0);
    try("type 0", AF_INET, 0, 0);
    try("type 12", AF_INET, 12, 0);
    try("unknown flag", AF_INET, SOCK_STREAM | 0x10, 0);
    try("family 0", AF_UNSPEC, SOCK_STREAM, 0);
    try("family 46", 46, SOCK_STREAM, 0);
    try("family -1", -1, SOCK_STREAM, 0);
    try("netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    try("netlink, datagrams", AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
    try("netlink, stream", AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE);
    try("netlink, protocol 31", AF_NETLINK, SOCK_RAW, 31);
    try("netlink, protocol 32", AF_NETLINK, SOCK_RAW, 32);
    int pair[2];
    CALL("pair of IPv6", socketpair(AF_INET6, SOCK_STREAM, 0, pair));
    CALL("pair of netlink", socketpair(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, pair));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    IS("close on exec", fcntl(fd, F_GETFD) == FD_CLOEXEC);
    IS("without waiting", fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK));
    struct stat stat;
    REQUIRE(fstat(fd, &stat) == 0);
    IS("is a socket", S_ISSOCK(stat.st_mode));
    CALL("seek", lseek(fd, 0, SEEK_SET));
    CALL("pread", pread(fd, &stat, 1, 0));
    CALL("mmap", (long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    CALL("ftruncate", ftruncate(fd, 0));
    CALL("fsync", fsync(fd));
    char name[64] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    REQUIRE(readlink(path, name, sizeof name - 1) > 0);
    IS("its name in /proc", strncmp(name, "socket:[", 8) == 0);
    CALL("TCGETS", ioctl(fd, 0x5401, &stat));
    CALL("unknown ioctl", ioctl(fd, 0x12345678, &stat));
    close(fd);
}
