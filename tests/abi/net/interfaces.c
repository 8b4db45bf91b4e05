// ioctl requests about interfaces, on sockets of several families. Only the loopback is looked at.
#include "udp.h"
#include <net/if_arp.h>

static struct ifreq named(const char *name) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    return request;
}

static void all(const char *what, int fd) {
    char name[64];
#define ASK(request_name, field, format)                                                                              \
    do {                                                                                                              \
        struct ifreq request = named("lo");                                                                           \
        snprintf(name, sizeof name, "%s %s", what, #request_name);                                                    \
        errno = 0;                                                                                                    \
        if (ioctl(fd, request_name, &request) == -1)                                                                  \
            check_line(name, "-1 %s", check_errno_name(errno));                                                       \
        else                                                                                                          \
            check_line(name, format, field);                                                                          \
    } while (0)
    ASK(SIOCGIFFLAGS, (unsigned)request.ifr_flags, "0x%x");
    ASK(SIOCGIFINDEX, request.ifr_ifindex, "%d");
    ASK(SIOCGIFMTU, request.ifr_mtu, "%d");
    ASK(SIOCGIFMETRIC, request.ifr_metric, "%d");
    ASK(SIOCGIFHWADDR, request.ifr_hwaddr.sa_family, "%d");
    ASK(SIOCGIFADDR, address_text(&request.ifr_addr), "%s");
    ASK(SIOCGIFNETMASK, address_text(&request.ifr_netmask), "%s");
    ASK(SIOCGIFBRDADDR, address_text(&request.ifr_broadaddr), "%s");
    ASK(SIOCGIFDSTADDR, address_text(&request.ifr_dstaddr), "%s");
    ASK(SIOCGIFTXQLEN, request.ifr_qlen, "%d");
    ASK(SIOCGIFSLAVE, request.ifr_ifindex, "%d");
    struct ifreq request = {.ifr_ifindex = 1};
    snprintf(name, sizeof name, "%s name of the first", what);
    if (ioctl(fd, SIOCGIFNAME, &request) == 0)
        TEXT(name, request.ifr_name);
    request = (struct ifreq){.ifr_ifindex = 99999};
    CALL("name of one that there is not", ioctl(fd, SIOCGIFNAME, &request));
    request = named("nonesuch0");
    CALL("flags of one that there is not", ioctl(fd, SIOCGIFFLAGS, &request));
    request = named("lo:0");
    CALL("flags of an alias", ioctl(fd, SIOCGIFFLAGS, &request));
    CALL("flags to unmapped memory", ioctl(fd, SIOCGIFFLAGS, UNMAPPED));
}

static void list(int fd) {
    struct ifconf request = {0};
    CALL("SIOCGIFCONF without buffer", ioctl(fd, SIOCGIFCONF, &request));
    IS("says how much there is", request.ifc_len >= (int)sizeof(struct ifreq));
    struct ifreq entries[64];
    request = (struct ifconf){.ifc_len = sizeof entries, .ifc_req = entries};
    CALL("SIOCGIFCONF", ioctl(fd, SIOCGIFCONF, &request));
    IS("whole entries", request.ifc_len % sizeof(struct ifreq) == 0);
    for (size_t n = 0; n < request.ifc_len / sizeof(struct ifreq); n++)
        if (strcmp(entries[n].ifr_name, "lo") == 0)
            TEXT("loopback", address_text(&entries[n].ifr_addr));
    request = (struct ifconf){.ifc_len = 20, .ifc_req = entries};
    CALL("SIOCGIFCONF with too little room", ioctl(fd, SIOCGIFCONF, &request));
    VALUE("gives", request.ifc_len);
}

int main(void) {
    int udp = v4_socket(), udp6 = v6_socket(), local = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(local >= 0);
    all("IPv4", udp);
    all("IPv6", udp6);
    all("local", local);
    list(udp);
}
