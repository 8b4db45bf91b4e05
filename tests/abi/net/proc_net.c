// The network in /proc and /sys: what of it is the same on every Linux.
#include "udp.h"

static char text[1 << 16];

static const char *read_all(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd == -1)
        return NULL;
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += got;
    text[length] = 0;
    close(fd);
    return text;
}

static void first_line(const char *path) {
    char name[96];
    snprintf(name, sizeof name, "first line of %s", path);
    const char *all = read_all(path);
    if (!all) {
        check_line(name, "-1 %s", check_errno_name(errno));
        return;
    }
    text[strcspn(text, "\n")] = 0;
    check_line(name, "%zu bytes: %s", strlen(all), all);
}

// The line that contains a text, without what differs from system to system behind `keep` bytes.
static void line_with(const char *name, const char *path, const char *what, size_t keep) {
    const char *all = read_all(path), *found = all ? strstr(all, what) : NULL;
    if (!found) {
        TEXT(name, "none");
        return;
    }
    while (found > all && found[-1] != '\n')
        found--;
    size_t length = strcspn(found, "\n");
    check_line(name, "%.*s", (int)(length < keep ? length : keep), found);
}

static void show(const char *path) {
    const char *all = read_all(path);
    if (all)
        text[strcspn(text, "\n")] = 0;
    TEXT(path, all ? all : "none");
}

// A number of a table whose first line has the names of the columns, and whose second line has the values.
static long column(const char *path, const char *group, const char *name) {
    char *names = strstr(read_all(path), group), *values = names ? strchr(names, '\n') : NULL;
    if (!values)
        return -1;
    *values++ = 0;
    values[strcspn(values, "\n")] = 0;
    char *rest_of_names, *rest_of_values;
    char *a = strtok_r(names, " ", &rest_of_names), *b = strtok_r(values, " ", &rest_of_values);
    while (a && b && strcmp(a, name)) {
        a = strtok_r(NULL, " ", &rest_of_names);
        b = strtok_r(NULL, " ", &rest_of_values);
    }
    return a && b ? atol(b) : -1;
}

static long tcp_count(const char *name) {
    return column("/proc/net/snmp", "Tcp: ", name);
}

static void tcp_counters(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(v4_bind(listener, INADDR_LOOPBACK, 0) == 0 && listen(listener, 5) == 0);
    long resets = tcp_count("EstabResets"), sent = tcp_count("OutSegs");
    REQUIRE(v4_connect(client, INADDR_LOOPBACK, port_of(listener)) == 0);
    int server = accept(listener, NULL, NULL);
    REQUIRE(server >= 0);
    IS("both ends are established", tcp_count("CurrEstab") >= 2);
    IS("segments were sent", tcp_count("OutSegs") > sent);
    IS("retransmissions are counted", tcp_count("RetransSegs") >= 0);
    REQUIRE(write(client, "x", 1) == 1 && await_input(server) == 1);
    // With something unread, the end is a reset.
    close(server);
    IS("the client hears of it", await_input(client) == 1);
    close(client);
    close(listener);
    IS("a reset of what was established", tcp_count("EstabResets") > resets);
    for (const char *const *name = (const char *const[]){"SyncookiesSent", "ListenOverflows", "TCPTimeouts",
                                                         "TCPLossProbes", "DelayedACKs", "TCPSynRetrans",
                                                         "TCPOFOQueue", "TCPAbortOnTimeout", NULL};
         *name; name++)
        IS(*name, column("/proc/net/netstat", "TcpExt: ", *name) >= 0);
}

int main(void) {
    first_line("/proc/net/udp");
    first_line("/proc/net/tcp");
    first_line("/proc/net/tcp6");
    first_line("/proc/net/route");
    first_line("/proc/net/netlink");
    first_line("/proc/net/igmp");
    first_line("/proc/net/arp");
    char what[128];
    int udp = v4_bound();
    snprintf(what, sizeof what, "0100007F:%04X", port_of(udp));
    IS("a UDP socket is listed", read_all("/proc/net/udp") && strstr(text, what));
    const char *found = strstr(text, what);
    if (found)
        check_line("its peer and state", "%.16s", found + strlen(what) + 1);
    int peer = v4_bound();
    REQUIRE(v4_connect(udp, INADDR_LOOPBACK, port_of(peer)) == 0);
    char to[256];
    snprintf(to, sizeof to, "%s 0100007F:%04X 01", what, port_of(peer));
    IS("connected", read_all("/proc/net/udp") && strstr(text, to));
    close(udp);
    IS("closed", read_all("/proc/net/udp") && !strstr(text, what));
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(tcp >= 0 && v4_bind(tcp, INADDR_LOOPBACK, 0) == 0 && listen(tcp, 5) == 0);
    snprintf(what, sizeof what, "0100007F:%04X 00000000:0000 0A", port_of(tcp));
    IS("a listener is listed", read_all("/proc/net/tcp") && strstr(text, what));
    close(tcp);
    int tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
    REQUIRE(tcp6 >= 0 && v6_bind(tcp6, "::1", 0) == 0 && listen(tcp6, 5) == 0);
    snprintf(what, sizeof what, "00000000000000000000000001000000:%04X 00000000000000000000000000000000:0000 0A",
             port_of(tcp6));
    IS("a listener of IPv6", read_all("/proc/net/tcp6") && strstr(text, what));
    close(tcp6);
    line_with("the loopback's address", "/proc/net/if_inet6", " lo", 60);
    line_with("the loopback", "/proc/net/dev", "lo:", 7);
    IS("sockstat counts", read_all("/proc/net/sockstat") && strstr(text, "TCP: inuse "));
    IS("snmp counts", read_all("/proc/net/snmp") && strstr(text, "\nUdp: InDatagrams NoPorts InErrors OutDatagrams"));
    tcp_counters();
    show("/proc/sys/net/ipv4/ip_local_port_range");
    show("/proc/sys/net/ipv4/ip_default_ttl");
    show("/sys/class/net/lo/mtu");
    show("/sys/class/net/lo/address");
    show("/sys/class/net/lo/operstate");
    show("/sys/class/net/lo/type");
    show("/sys/class/net/lo/ifindex");
    show("/sys/class/net/lo/flags");
    CALL("no such interface", access("/sys/class/net/nonesuch0/mtu", F_OK));
}
