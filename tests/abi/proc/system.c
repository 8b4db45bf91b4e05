// What /proc and /sys say of the machine, and that they agree with the system calls and with each other.
#include "check.h"
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static char text[1 << 16];

static char *contents(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = 0, got = 0;
    text[0] = 0;
    if (fd == -1)
        return text;
    while (length < (ssize_t)sizeof text - 1 && (got = read(fd, text + length, sizeof text - 1 - (size_t)length)) > 0)
        length += got;
    text[length] = 0;
    close(fd);
    return text;
}

static long meminfo(const char *name) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "%s:", name);
    char *found = strstr(contents("/proc/meminfo"), pattern);
    return found ? strtol(found + strlen(pattern), NULL, 10) : -1;
}

// Counts the processors in a list as "0-3,5".
static int count_list(const char *list) {
    int count = 0;
    while (*list >= '0' && *list <= '9') {
        char *end;
        long first = strtol(list, &end, 10), last = first;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        count += (int)(last - first + 1);
        list = *end == ',' ? end + 1 : end;
    }
    return count;
}

static int count(const char *in, const char *what) {
    int found = 0;
    for (const char *at = in; (at = strstr(at, what)) != NULL; at += strlen(what))
        found++;
    return found;
}

int main(void) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct sysinfo info;
    CALL("sysinfo", sysinfo(&info));
    CALL("sysinfo, bad pointer", syscall(SYS_sysinfo, UNMAPPED));
    IS("meminfo: MemTotal is that of sysinfo", meminfo("MemTotal") == (long)(info.totalram * info.mem_unit / 1024));
    IS("meminfo: MemFree < MemTotal", meminfo("MemFree") > 0 && meminfo("MemFree") < meminfo("MemTotal"));
    IS("meminfo: MemAvailable", meminfo("MemAvailable") > 0 && meminfo("MemAvailable") <= meminfo("MemTotal"));
    const char *fields[] = {"Buffers", "Cached", "Active", "Inactive", "SwapTotal", "SwapFree", "Dirty", "AnonPages", "Mapped",
                            "Shmem", "Slab", "KernelStack", "PageTables", "CommitLimit", "Committed_AS", "VmallocTotal"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        IS(fields[i], meminfo(fields[i]) >= 0);
    IS("pages of physical memory", sysconf(_SC_PHYS_PAGES) == meminfo("MemTotal") / 4);
    // Available, not free: a Linux whose page cache fills its memory takes from that first. Where others run too, they may free as much at the
    // same time, and what was freed a moment ago may be in a list of one processor that is not counted, and be taken from there: so more
    // is taken, and nothing given back in between.
    enum { PIECES = 4, PIECE = 64 << 20 };
    bool less = false;
    for (int i = 0; i < 10 && !less; i++) {
        char *pieces[PIECES] = {NULL};
        for (int j = 0; j < PIECES && !less; j++) {
            long before = meminfo("MemAvailable");
            pieces[j] = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            REQUIRE(pieces[j] != MAP_FAILED);
            memset(pieces[j], 1, PIECE);
            less = before - meminfo("MemAvailable") > 30000;
        }
        for (int j = 0; j < PIECES && pieces[j]; j++)
            munmap(pieces[j], PIECE);
    }
    IS("64 MiB less are available when they are used", less);

    VALUE("cpuinfo: processors", count(contents("/proc/cpuinfo"), "processor\t: ") - cpus);
    const char *keys[] = {"\nvendor_id\t: ", "\ncpu family\t: ", "\nmodel\t\t: ", "\nmodel name\t: ", "\nstepping\t: ", "\ncpu MHz\t\t: ",
                          "\nphysical id\t: ", "\nsiblings\t: ", "\ncore id\t\t: ", "\ncpu cores\t: ", "\nflags\t\t: ", "\nbogomips\t: "};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char name[64];
        sscanf(keys[i] + 1, "%31[a-z MH_]", name);
        IS(name, count(contents("/proc/cpuinfo"), keys[i]) == cpus);
    }
    IS("cpuinfo: flags have sse2", strstr(contents("/proc/cpuinfo"), " sse2 ") != NULL);
    IS("stat: a line for all processors", strncmp(contents("/proc/stat"), "cpu  ", 5) == 0);
    IS("stat: a line for each", count(contents("/proc/stat"), "\ncpu") == cpus);
    IS("stat: the usual lines", strstr(text, "\nintr ") && strstr(text, "\nctxt ") && strstr(text, "\nbtime ") &&
                                    strstr(text, "\nprocesses ") && strstr(text, "\nprocs_running ") && strstr(text, "\nprocs_blocked "));
    long user, nice, system_time, idle, wait, irq, soft, steal, guest, guest_nice;
    VALUE("stat: numbers of a line", sscanf(contents("/proc/stat"), "cpu %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld", &user, &nice, &system_time,
                                            &idle, &wait, &irq, &soft, &steal, &guest, &guest_nice));
    double up, idle_time, one, five, fifteen;
    VALUE("uptime: numbers", sscanf(contents("/proc/uptime"), "%lf %lf", &up, &idle_time));
    IS("uptime is boot time", ({ double now = (double)check_now_ns(CLOCK_BOOTTIME) / 1e9; up <= now && up > now - 5; }));
    IS("uptime is that of sysinfo", ({ sysinfo(&info); (double)info.uptime >= up - 2 && (double)info.uptime <= up + 5; }));
    int running, all, last;
    VALUE("loadavg: fields", sscanf(contents("/proc/loadavg"), "%lf %lf %lf %d/%d %d", &one, &five, &fifteen, &running, &all, &last));
    IS("loadavg: at least one runs", running >= 1 && all >= running);
    double loads[3];
    CALL("getloadavg", getloadavg(loads, 3));
    struct utsname name;
    CALL("uname", uname(&name));
    CALL("uname, bad pointer", syscall(SYS_uname, UNMAPPED));
    TEXT("system", name.sysname);
    TEXT("machine", name.machine);
    IS("release is a version", ({ int major = 0, minor = 0; sscanf(name.release, "%d.%d", &major, &minor) == 2 && major >= 4; }));
    IS("version begins as uname says", ({ char want[200]; snprintf(want, sizeof want, "Linux version %s ", name.release); strncmp(contents("/proc/version"), want, strlen(want)) == 0; }));
    IS("osrelease", strncmp(contents("/proc/sys/kernel/osrelease"), name.release, strlen(name.release)) == 0);
    IS("ostype", strcmp(contents("/proc/sys/kernel/ostype"), "Linux\n") == 0);
    IS("hostname", strncmp(contents("/proc/sys/kernel/hostname"), name.nodename, strlen(name.nodename)) == 0);
    IS("pid_max", atoi(contents("/proc/sys/kernel/pid_max")) >= 32768);
    IS("threads-max", atoi(contents("/proc/sys/kernel/threads-max")) > 1000);
    IS("overcommit_memory", contents("/proc/sys/vm/overcommit_memory")[0] >= '0' && text[0] <= '2');
    IS("max_map_count", atoi(contents("/proc/sys/vm/max_map_count")) >= 65530);
    IS("mmap_min_addr", atoi(contents("/proc/sys/vm/mmap_min_addr")) >= 4096);
    IS("file-max", atoll(contents("/proc/sys/fs/file-max")) > 1000);
    IS("nr_open", atoi(contents("/proc/sys/fs/nr_open")) >= 1024);
    IS("random boot_id", strlen(contents("/proc/sys/kernel/random/boot_id")) == 37);
    IS("random uuid differs each time", ({ char first[64]; strcpy(first, contents("/proc/sys/kernel/random/uuid")); strlen(first) == 37 && strcmp(first, contents("/proc/sys/kernel/random/uuid")) != 0; }));
    IS("filesystems has proc", strstr(contents("/proc/filesystems"), "nodev\tproc\n") != NULL);

    IS("online processors", count_list(contents("/sys/devices/system/cpu/online")) == cpus);
    IS("possible processors", count_list(contents("/sys/devices/system/cpu/possible")) >= cpus);
    IS("present processors", count_list(contents("/sys/devices/system/cpu/present")) >= cpus);
    IS("configured processors", sysconf(_SC_NPROCESSORS_CONF) >= cpus);
    IS("online ends with a newline", text[0] == 0 || contents("/sys/devices/system/cpu/online")[strlen(text) - 1] == '\n');
    CALL("a directory for processor 0", access("/sys/devices/system/cpu/cpu0", F_OK));
    CALL("a file for processor 4000", access("/sys/devices/system/cpu/cpu4000", F_OK));
    IS("node 0", strncmp(contents("/sys/devices/system/node/online"), "0", 1) == 0 || access("/sys/devices/system/node", F_OK) == -1);
    IS("huge pages: one of three is chosen", ({ contents("/sys/kernel/mm/transparent_hugepage/enabled"); !*text || (strchr(text, '[') && strchr(text, ']')); }));
    CALL("missing file in /sys", open("/sys/nosuch", O_RDONLY));
    CALL("missing file in /proc", open("/proc/nosuch", O_RDONLY));
    DIR *proc = opendir("/proc");
    int self = 0;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;)
        self += atoi(entry->d_name) == getpid() || strcmp(entry->d_name, "self") == 0 || strcmp(entry->d_name, "meminfo") == 0;
    closedir(proc);
    VALUE("the list of /proc has pid, self and meminfo", self);
    return 0;
}
