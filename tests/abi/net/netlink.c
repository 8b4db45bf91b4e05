// Netlink as the C library and iproute2 use it: dumps, single answers, errors. Only the loopback is looked at.
#include "udp.h"
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netdb.h>

static int open_netlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    REQUIRE(fd >= 0);
    return fd;
}

struct request {
    struct nlmsghdr header;
    union {
        struct rtgenmsg family;
        struct ifinfomsg link;
        struct ifaddrmsg address;
        struct rtmsg route;
    };
    char attributes[64];
};

static void ask(int fd, int type, int flags, struct request *request, size_t body) {
    request->header = (struct nlmsghdr){
        .nlmsg_len = NLMSG_LENGTH(body), .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = 4711};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    REQUIRE(sendto(fd, request, request->header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) ==
            (ssize_t)request->header.nlmsg_len);
}

static const void *attribute(const void *first, size_t length, int type, size_t *size) {
    const struct rtattr *item = first;
    for (int left = length; RTA_OK(item, left); item = RTA_NEXT(item, left)) {
        if (item->rta_type == type) {
            *size = RTA_PAYLOAD(item);
            return RTA_DATA(item);
        }
    }
    return NULL;
}

static void print_link(struct nlmsghdr *header) {
    struct ifinfomsg *link = NLMSG_DATA(header);
    if (link->ifi_index != 1)
        return;
    size_t size, length = IFLA_PAYLOAD(header);
    const void *value;
    check_line("link", "type %d flags 0x%x", link->ifi_type, link->ifi_flags);
    if ((value = attribute(IFLA_RTA(link), length, IFLA_IFNAME, &size)))
        TEXT("its name", (const char *)value);
    if ((value = attribute(IFLA_RTA(link), length, IFLA_MTU, &size)))
        VALUE("its MTU", *(const uint32_t *)value);
    if ((value = attribute(IFLA_RTA(link), length, IFLA_ADDRESS, &size)))
        VALUE("length of its address", size);
    if ((value = attribute(IFLA_RTA(link), length, IFLA_OPERSTATE, &size)))
        VALUE("its state", *(const uint8_t *)value);
    if ((value = attribute(IFLA_RTA(link), length, IFLA_QDISC, &size)))
        TEXT("its queue", (const char *)value);
    IS("statistics", attribute(IFLA_RTA(link), length, IFLA_STATS64, &size) != NULL);
}

static void print_address(struct nlmsghdr *header) {
    struct ifaddrmsg *address = NLMSG_DATA(header);
    if (address->ifa_index != 1)
        return;
    char text[INET6_ADDRSTRLEN] = "none";
    size_t size, length = IFA_PAYLOAD(header);
    const void *value = attribute(IFA_RTA(address), length, IFA_ADDRESS, &size);
    if (value)
        inet_ntop(address->ifa_family, value, text, sizeof text);
    check_line("address", "family %d %s/%d scope %d", address->ifa_family, text, address->ifa_prefixlen,
               address->ifa_scope);
    IS("permanent", address->ifa_flags & IFA_F_PERMANENT);
    IS("it has a local address", attribute(IFA_RTA(address), length, IFA_LOCAL, &size) != NULL);
    if ((value = attribute(IFA_RTA(address), length, IFA_LABEL, &size)))
        TEXT("its label", (const char *)value);
}

// Reads the whole of an answer, and prints what is about the loopback.
static void answers(const char *name, int fd) {
    char buffer[32768];
    int messages = 0;
    for (;;) {
        struct sockaddr_nl from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size);
        REQUIRE(length > 0);
        REQUIRE(from.nl_family == AF_NETLINK && from.nl_pid == 0 && size == sizeof from);
        int left = length;
        for (struct nlmsghdr *header = (void *)buffer; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
            messages++;
            REQUIRE(header->nlmsg_seq == 4711);
            switch (header->nlmsg_type) {
            case NLMSG_DONE:
                IS(name, messages > 1 && header->nlmsg_flags & NLM_F_MULTI);
                return;
            case NLMSG_ERROR:
                check_line(name, "error %d", ((struct nlmsgerr *)NLMSG_DATA(header))->error);
                return;
            case RTM_NEWLINK:
                print_link(header);
                break;
            case RTM_NEWADDR:
                print_address(header);
                break;
            }
            if (!(header->nlmsg_flags & NLM_F_MULTI)) {
                check_line(name, "type %d", header->nlmsg_type);
                return;
            }
        }
    }
}

static void names(void) {
    int fd = open_netlink();
    struct sockaddr_nl own = {0};
    socklen_t length = sizeof own;
    CALL("getsockname", getsockname(fd, (struct sockaddr *)&own, &length));
    check_line("own name", "family %d port %u, %u bytes", own.nl_family, own.nl_pid, length);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    CALL("bind", bind(fd, (struct sockaddr *)&address, sizeof address));
    getsockname(fd, (struct sockaddr *)&own, &length);
    IS("the port is the process", own.nl_pid == (uint32_t)getpid());
    CALL("bind again", bind(fd, (struct sockaddr *)&address, sizeof address));
    address.nl_pid = 12345;
    CALL("bind to another port", bind(fd, (struct sockaddr *)&address, sizeof address));
    int second = open_netlink();
    address.nl_pid = 0;
    CALL("bind a second socket", bind(second, (struct sockaddr *)&address, sizeof address));
    getsockname(second, (struct sockaddr *)&own, &length);
    IS("its port is another one", own.nl_pid != 0 && own.nl_pid != (uint32_t)getpid());
    int third = open_netlink();
    address.nl_pid = getpid();
    CALL("bind to a port that is taken", bind(third, (struct sockaddr *)&address, sizeof address));
    CALL("bind, too short", bind(third, (struct sockaddr *)&address, 8));
    address.nl_family = AF_INET;
    CALL("bind, other family", bind(third, (struct sockaddr *)&address, sizeof address));
    CALL("getpeername", getpeername(third, (struct sockaddr *)&own, &length));
    CALL("listen", listen(third, 1));
    CALL("accept", accept(third, NULL, NULL));
    CALL("receive nothing", recv(third, &own, sizeof own, MSG_DONTWAIT));
    CALL("shutdown", shutdown(third, SHUT_RD));
    struct pollfd entry = {.fd = third, .events = POLLIN | POLLOUT};
    CALL("poll", poll(&entry, 1, 0));
    HEX("events", entry.revents);
    close(fd);
    close(second);
    close(third);
}

static void dumps(void) {
    int fd = open_netlink();
    struct request request = {0};
    ask(fd, RTM_GETLINK, NLM_F_DUMP, &request, sizeof request.link);
    answers("dump of links", fd);
    request = (struct request){0};
    ask(fd, RTM_GETADDR, NLM_F_DUMP, &request, sizeof request.address);
    answers("dump of addresses", fd);
    request = (struct request){.family.rtgen_family = AF_INET};
    ask(fd, RTM_GETADDR, NLM_F_DUMP, &request, sizeof request.family);
    answers("dump of IPv4 addresses", fd);
    request = (struct request){.family.rtgen_family = AF_INET6};
    ask(fd, RTM_GETADDR, NLM_F_DUMP, &request, sizeof request.address);
    answers("dump of IPv6 addresses", fd);
    request = (struct request){.route.rtm_family = AF_INET};
    ask(fd, RTM_GETROUTE, NLM_F_DUMP, &request, sizeof request.route);
    answers("dump of routes", fd);
    request = (struct request){.link.ifi_index = 1};
    ask(fd, RTM_GETLINK, 0, &request, sizeof request.link);
    answers("the first link", fd);
    request = (struct request){.link.ifi_index = 99999};
    ask(fd, RTM_GETLINK, 0, &request, sizeof request.link);
    answers("a link that there is not", fd);
    request = (struct request){.link.ifi_index = 1};
    ask(fd, RTM_GETLINK, NLM_F_ACK, &request, sizeof request.link);
    answers("with an acknowledgement", fd);
    answers("which is", fd);
    request = (struct request){0};
    ask(fd, 1000, 0, &request, sizeof request.link);
    answers("a request that there is not", fd);
    request = (struct request){.route = {.rtm_family = AF_INET, .rtm_dst_len = 32}};
    struct rtattr *to = (struct rtattr *)((char *)&request + NLMSG_LENGTH(sizeof request.route));
    to->rta_type = RTA_DST;
    to->rta_len = RTA_LENGTH(4);
    memcpy(RTA_DATA(to), &(uint32_t){htonl(INADDR_LOOPBACK)}, 4);
    ask(fd, RTM_GETROUTE, 0, &request, sizeof request.route + RTA_SPACE(4));
    answers("the way to the loopback", fd);
    request = (struct request){.link.ifi_index = 1};
    ask(fd, RTM_GETLINK, 0, &request, sizeof request.link);
    char little[8];
    CALL("peek at its length", recv(fd, little, sizeof little, MSG_PEEK | MSG_TRUNC) > 100);
    struct msghdr message = {.msg_iov = &(struct iovec){little, sizeof little}, .msg_iovlen = 1};
    CALL("receive a part", recvmsg(fd, &message, 0));
    HEX("says so", message.msg_flags);
    CALL("the rest is gone", recv(fd, little, sizeof little, MSG_DONTWAIT));
    struct sockaddr_nl nobody = {.nl_family = AF_NETLINK, .nl_pid = 7654321};
    CALL("send to nobody", sendto(fd, &request, request.header.nlmsg_len, 0, (struct sockaddr *)&nobody,
                                  sizeof nobody));
    int one = 1;
    CALL("NETLINK_EXT_ACK", setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one));
    VALUE("is on", get_number(fd, SOL_NETLINK, NETLINK_EXT_ACK));
    CALL("NETLINK_GET_STRICT_CHK", setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one));
    CALL("NETLINK_ADD_MEMBERSHIP", setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &one, sizeof one));
    int group = 1000;
    CALL("of a group that there is not", setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
    CALL("unknown option", setsockopt(fd, SOL_NETLINK, 99, &one, sizeof one));
    close(fd);
}

static void library(void) {
    struct ifaddrs *all, *each;
    CALL("getifaddrs", getifaddrs(&all));
    for (each = all; each; each = each->ifa_next) {
        if (strcmp(each->ifa_name, "lo") != 0 || !each->ifa_addr)
            continue;
        check_line("loopback", "family %d flags 0x%x %s", each->ifa_addr->sa_family, each->ifa_flags,
                   address_text(each->ifa_addr));
        if (each->ifa_netmask)
            TEXT("mask", address_text(each->ifa_netmask));
    }
    freeifaddrs(all);
    VALUE("if_nametoindex", if_nametoindex("lo"));
    VALUE("if_nametoindex of none", if_nametoindex("nonesuch0"));
    char name[IFNAMSIZ];
    TEXT("if_indextoname", if_indextoname(1, name));
    struct if_nameindex *list = if_nameindex();
    IS("if_nameindex", list != NULL);
    if (list)
        check_line("its first", "%u %s", list->if_index, list->if_name);
    if_freenameindex(list);
    struct addrinfo hint = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_ADDRCONFIG}, *found;
    VALUE("getaddrinfo", getaddrinfo("127.0.0.1", "80", &hint, &found));
    TEXT("gives", address_text(found->ai_addr));
    freeaddrinfo(found);
}

int main(void) {
    names();
    dumps();
    library();
}
