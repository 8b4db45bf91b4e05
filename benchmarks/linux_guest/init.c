// The init of the Linux guest that Crema is measured against.
//
// It is the first program in the initramfs that `crema bench` makes. It does as little as possible before it starts the
// program of the run configuration from the ext4 image, the same image that Crema boots: loads the virtio modules, mounts
// the image and what a program expects below it, starts the program with the virtio-serial ports as its standard
// streams, and speaks the control protocol (docs/control-channel.md) in the kernel's place. Then it powers the machine off.
//
// It changes the machine that it runs on, so it refuses to be anything but pid 1 of an initramfs made for it.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MODULE_LIST "/modules/list"
#define RUN_CONFIG "/run.conf"
#define WORDS_LIMIT 4096
#define ADDRESSES_LIMIT 16

// What the tool promises to have put into the initramfs; no other system has it.
#define MARK "/crema-linux-guest"

static int control = -1;

static void say(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (control >= 0 && length > 0 && write(control, line, (size_t)length) < 0)
        perror("init: control");
}

// Ends the machine. ACPI first; where there is none, the device that ends QEMU.
static void power_off(void) {
    reboot(RB_POWER_OFF);
    if (ioperm(0xf4, 4, 1) == 0)
        outl(0, 0xf4);
    for (;;)
        pause();
}

static void fail(const char *what) {
    fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
    say("panic the Linux guest's init failed: %s: %s\n", what, strerror(errno));
    power_off();
}

// The time since the kernel's entry. Linux's clock begins to run a little after that: the difference is in its favour.
static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void mount_at(const char *type, const char *path, const char *options) {
    mkdir(path, 0755);
    if (mount(type, path, type, MS_NOSUID | MS_NODEV * (strcmp(type, "devtmpfs") != 0), options) == -1 && errno != EBUSY)
        fail(path);
}

// Loads the modules named in the list, one path a line, in an order in which each finds what it needs.
static void load_modules(void) {
    FILE *list = fopen(MODULE_LIST, "re");
    char path[256];
    if (!list)
        fail(MODULE_LIST);
    while (fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd == -1 || (syscall(SYS_finit_module, fd, "", 0) == -1 && errno != EEXIST))
            fail(path);
        close(fd);
    }
    fclose(list);
}

// Whether a file can be read and its first line is this.
static bool says(const char *path, const char *line) {
    char found[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return false;
    ssize_t length = read(fd, found, sizeof found - 1);
    close(fd);
    if (length > 0)
        found[strcspn(found, "\n")] = 0;
    return strcmp(found, line) == 0;
}

// Opens a virtio-serial port by its name. Ports appear a little after their device.
static int open_port(const char *name) {
    for (int attempt = 0; attempt < 5000; attempt++) {
        DIR *ports = opendir("/sys/class/virtio-ports");
        for (struct dirent *entry; ports && (entry = readdir(ports)) != NULL;) {
            char path[512];
            snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
            if (says(path, name)) {
                snprintf(path, sizeof path, "/dev/%s", entry->d_name);
                int fd = open(path, O_RDWR | O_CLOEXEC);
                if (fd != -1) {
                    closedir(ports);
                    return fd;
                }
            }
        }
        if (ports)
            closedir(ports);
        usleep(1000);
    }
    errno = ENODEV;
    fail(name);
    return -1;
}

static void await_file(const char *path) {
    for (int attempt = 0; access(path, F_OK) == -1; attempt++) {
        if (attempt == 5000)
            fail(path);
        usleep(1000);
    }
}

#define VOLUMES_LIMIT 8

struct run {
    // SERIAL:ACCESS:PLACE each.
    char *volumes[VOLUMES_LIMIT];
    size_t volume_count;
    char *arguments[WORDS_LIMIT + 1], *environment[WORDS_LIMIT + 1];
    const char *folder, *host_name;
    char *addresses[ADDRESSES_LIMIT], *gateways[ADDRESSES_LIMIT], *name_servers[ADDRESSES_LIMIT];
    size_t address_count, gateway_count, name_server_count;
};

// Records `key=value`, each ended by a NUL byte: the crate run-config.
static void read_config(struct run *run) {
    static char text[1 << 20];
    int fd = open(RUN_CONFIG, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd == -1 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0)
        fail(RUN_CONFIG);
    close(fd);
    size_t arguments = 0, environment = 0;
    *run = (struct run){.folder = "/", .host_name = "crema"};
    for (char *record = text; record < text + length; record += strlen(record) + 1) {
        char *value = strchr(record, '=');
        if (!value)
            continue;
        value++;
        if (strncmp(record, "arg=", 4) == 0 && arguments < WORDS_LIMIT)
            run->arguments[arguments++] = value;
        else if (strncmp(record, "env=", 4) == 0 && environment < WORDS_LIMIT)
            run->environment[environment++] = value;
        else if (strncmp(record, "cwd=", 4) == 0)
            run->folder = value;
        else if (strncmp(record, "volume=", 7) == 0 && run->volume_count < VOLUMES_LIMIT)
            run->volumes[run->volume_count++] = value;
        else if (strncmp(record, "net.hostname=", 13) == 0)
            run->host_name = value;
        else if (strncmp(record, "net.address=", 12) == 0 && run->address_count < ADDRESSES_LIMIT)
            run->addresses[run->address_count++] = value;
        else if (strncmp(record, "net.gateway=", 12) == 0 && run->gateway_count < ADDRESSES_LIMIT)
            run->gateways[run->gateway_count++] = value;
        else if (strncmp(record, "net.dns=", 8) == 0 && run->name_server_count < ADDRESSES_LIMIT)
            run->name_servers[run->name_server_count++] = value;
    }
    if (arguments == 0)
        fail("no program");
}

#define DEVICE "eth0"

static void interface_up(int fd, const char *name) {
    struct ifreq request = {0};
    strcpy(request.ifr_name, name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == -1)
        fail(name);
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) == -1)
        fail(name);
}

static struct in_addr mask_of(int length) {
    return (struct in_addr){htonl(length == 0 ? 0 : ~0u << (32 - length))};
}

// One ADDRESS/LENGTH: netdevice(7), ipv6(7).
static void add_address(int fd4, int fd6, char *text) {
    char *slash = strchr(text, '/');
    struct ifreq request = {0};
    struct in6_ifreq request6 = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    strcpy(request.ifr_name, DEVICE);
    if (!slash)
        fail(text);
    *slash = 0;
    int length = atoi(slash + 1);
    if (inet_pton(AF_INET, text, &address.sin_addr) == 1) {
        memcpy(&request.ifr_addr, &address, sizeof address);
        if (ioctl(fd4, SIOCSIFADDR, &request) == -1)
            fail(text);
        address.sin_addr = mask_of(length);
        memcpy(&request.ifr_netmask, &address, sizeof address);
        if (ioctl(fd4, SIOCSIFNETMASK, &request) == -1)
            fail(text);
        return;
    }
    if (inet_pton(AF_INET6, text, &request6.ifr6_addr) != 1 || ioctl(fd4, SIOCGIFINDEX, &request) == -1)
        fail(text);
    request6.ifr6_ifindex = request.ifr_ifindex;
    request6.ifr6_prefixlen = (uint32_t)length;
    if (ioctl(fd6, SIOCSIFADDR, &request6) == -1)
        fail(text);
}

static void add_gateway(int fd4, int fd6, char *text) {
    struct sockaddr_in gateway = {.sin_family = AF_INET}, any = {.sin_family = AF_INET};
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    struct in6_rtmsg route6 = {.rtmsg_flags = RTF_UP | RTF_GATEWAY, .rtmsg_metric = 1};
    struct ifreq request = {0};
    strcpy(request.ifr_name, DEVICE);
    if (inet_pton(AF_INET, text, &gateway.sin_addr) == 1) {
        memcpy(&route.rt_gateway, &gateway, sizeof gateway);
        memcpy(&route.rt_dst, &any, sizeof any);
        memcpy(&route.rt_genmask, &any, sizeof any);
        if (ioctl(fd4, SIOCADDRT, &route) == -1)
            fail(text);
        return;
    }
    if (inet_pton(AF_INET6, text, &route6.rtmsg_gateway) != 1 || ioctl(fd4, SIOCGIFINDEX, &request) == -1)
        fail(text);
    route6.rtmsg_ifindex = request.ifr_ifindex;
    if (ioctl(fd6, SIOCADDRT, &route6) == -1)
        fail(text);
}

// The interfaces, and in the image the resolver's file. There is no DHCP client: the tool says what QEMU's server would.
static void set_up_network(struct run *run) {
    int fd4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    interface_up(fd4, "lo");
    if (if_nametoindex(DEVICE) == 0)
        return;
    interface_up(fd4, DEVICE);
    for (size_t i = 0; i < run->address_count; i++)
        add_address(fd4, fd6, run->addresses[i]);
    for (size_t i = 0; i < run->gateway_count; i++)
        add_gateway(fd4, fd6, run->gateways[i]);
    close(fd4);
    close(fd6);
    FILE *hosts = fopen("/etc/hosts", "ae"), *resolver = fopen("/etc/resolv.conf", "we");
    if (!hosts || !resolver)
        fail("/etc");
    fprintf(hosts, "127.0.0.1 localhost\n::1 localhost\n");
    if (run->address_count > 0)
        fprintf(hosts, "%s %s\n", run->addresses[0], run->host_name);
    for (size_t i = 0; i < run->name_server_count; i++)
        fprintf(resolver, "nameserver %s\n", run->name_servers[i]);
    fclose(hosts);
    fclose(resolver);
}

// Finds a disk by its serial number, in /dev.
static void find_disk(const char *serial, char *path, size_t size) {
    for (int attempt = 0; attempt < 5000; attempt++) {
        for (char letter = 'a'; letter <= 'z'; letter++) {
            snprintf(path, size, "/sys/block/vd%c/serial", letter);
            if (!says(path, serial))
                continue;
            snprintf(path, size, "/dev/vd%c", letter);
            if (access(path, F_OK) == 0)
                return;
        }
        usleep(1000);
    }
    errno = ENODEV;
    fail(serial);
}

// Mounts SERIAL:ACCESS:PLACE below the image, in a folder that is made if it is not there.
static void mount_volume(char *volume) {
    char disk[64], place[512];
    char *access_word = strchr(volume, ':'), *rest = access_word ? strchr(access_word + 1, ':') : NULL;
    if (!rest)
        fail(volume);
    *access_word = *rest = 0;
    snprintf(place, sizeof place, "/image%s", rest + 1);
    for (char *slash = strchr(place + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(place, 0755);
        *slash = '/';
    }
    mkdir(place, 0755);
    find_disk(volume, disk, sizeof disk);
    if (mount(disk, place, "ext4", MS_NOATIME | MS_RDONLY * (strcmp(access_word + 1, "ro") == 0), "") == -1)
        fail(place);
}

// The image becomes the root, with the file systems below it that Crema has there.
static void enter_image(struct run *run) {
    await_file("/dev/vda");
    mkdir("/image", 0755);
    if (mount("/dev/vda", "/image", "ext4", MS_NOATIME, "") == -1)
        fail("/dev/vda");
    for (size_t i = 0; i < run->volume_count; i++)
        mount_volume(run->volumes[i]);
    mount_at("proc", "/image/proc", "");
    mount_at("sysfs", "/image/sys", "");
    mount_at("devtmpfs", "/image/dev", "");
    mount_at("tmpfs", "/image/dev/shm", "");
    mount_at("tmpfs", "/image/tmp", "mode=1777");
    mount_at("cgroup2", "/image/sys/fs/cgroup", "");
    // What udev would do. That one of them exists already is as good.
    const char *links[][2] = {{"/proc/self/fd", "/image/dev/fd"},
                              {"/proc/self/fd/0", "/image/dev/stdin"},
                              {"/proc/self/fd/1", "/image/dev/stdout"},
                              {"/proc/self/fd/2", "/image/dev/stderr"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) == -1 && errno != EEXIST)
            fail(links[i][1]);
    if (chdir("/image") == -1 || mount(".", "/", NULL, MS_MOVE, NULL) == -1 || chroot(".") == -1 || chdir("/") == -1)
        fail("/image");
}

static void tell_memory(void) {
    FILE *meminfo = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long kib;
    while (meminfo && fgets(line, sizeof line, meminfo)) {
        if (sscanf(line, "MemTotal: %lu", &kib) == 1)
            say("memory total %lu\n", kib * 1024);
        if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
            say("memory available %lu\n", kib * 1024);
    }
    if (meminfo)
        fclose(meminfo);
}

static pid_t start(const struct run *run, int stdio, int error, const int input[2]) {
    say("boot application %llu\n", (unsigned long long)now_ns());
    pid_t pid = fork();
    if (pid == -1)
        fail("fork");
    if (pid > 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    struct rlimit files = {20000, 20000}, core = {0, 0};
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &core);
    dup2(input[0], 0);
    dup2(stdio, 1);
    dup2(error, 2);
    if (chdir(run->folder) == 0)
        execve(run->arguments[0], run->arguments, run->environment);
    dprintf(2, "init: %s: %s\n", run->arguments[0], strerror(errno));
    _exit(127);
}

// Passes on standard input and the orders of the tool until the program has ended.
static int serve(pid_t child, int stdio, int input) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    int children = signalfd(-1, &set, SFD_CLOEXEC);
    uint64_t passed = 0, end_at = UINT64_MAX;
    char orders[4096], data[65536];
    size_t have = 0;
    for (;;) {
        struct pollfd wait[3] = {{children, POLLIN, 0}, {control, POLLIN, 0}, {input >= 0 ? stdio : -1, POLLIN, 0}};
        poll(wait, 3, -1);
        if (wait[0].revents & POLLIN) {
            struct signalfd_siginfo info;
            int status;
            pid_t pid;
            if (read(children, &info, sizeof info) < 0)
                continue;
            while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                if (pid == child)
                    return status;
        }
        if (wait[2].revents & POLLIN) {
            ssize_t length = read(stdio, data, sizeof data);
            for (ssize_t at = 0; at < length;) {
                ssize_t written = write(input, data + at, (size_t)(length - at));
                if (written < 0)
                    break;
                at += written;
            }
            if (length > 0)
                passed += (uint64_t)length;
        }
        if (wait[1].revents & POLLIN) {
            ssize_t length = read(control, orders + have, sizeof orders - 1 - have);
            if (length > 0)
                have += (size_t)length;
            orders[have] = 0;
            for (char *end; (end = strchr(orders, '\n')) != NULL;) {
                unsigned long long total;
                int number;
                if (sscanf(orders, "signal %d", &number) == 1)
                    kill(child, number);
                else if (sscanf(orders, "stdin-eof %llu", &total) == 1)
                    end_at = total;
                else if (strncmp(orders, "poweroff", 8) == 0)
                    power_off();
                have -= (size_t)(end + 1 - orders);
                memmove(orders, end + 1, have + 1);
            }
            if (have == sizeof orders - 1)
                have = 0;
        }
        if (input >= 0 && passed >= end_at) {
            close(input);
            input = -1;
        }
    }
}

int main(void) {
    uint64_t entered_ns = now_ns();
    if (getpid() != 1 || access(MARK, F_OK) == -1) {
        fputs("this program is the init of a guest, and of no other system\n", stderr);
        return 1;
    }
    static struct run run;
    int input[2];
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    mount_at("devtmpfs", "/dev", "");
    mount_at("proc", "/proc", "");
    mount_at("sysfs", "/sys", "");
    load_modules();
    control = open_port("crema.control");
    int stdio = open_port("crema.stdio"), error = open_port("crema.stderr");
    say("boot init %llu\n", (unsigned long long)entered_ns);
    read_config(&run);
    if (sethostname(run.host_name, strlen(run.host_name)) == -1)
        fail("host name");
    enter_image(&run);
    set_up_network(&run);
    tell_memory();
    if (pipe2(input, O_CLOEXEC) == -1)
        fail("pipe");
    pid_t child = start(&run, stdio, error, input);
    close(input[0]);
    int status = serve(child, stdio, input[1]);
    say("boot end %llu\n", (unsigned long long)now_ns());
    if (WIFEXITED(status))
        say("exit %d\n", WEXITSTATUS(status));
    else
        say("signal %d\n", WTERMSIG(status));
    power_off();
}
