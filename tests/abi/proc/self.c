// The rest of /proc/self: status, stat, cmdline, environ, exe, cwd, root, fd, fdinfo, limits, task, auxv, comm, cgroup,
// mountinfo, oom_score_adj, coredump_filter.
#include "check.h"
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static char text[1 << 16];

static const char *contents(const char *path) {
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

static long field(const char *path, const char *name) {
    const char *all = contents(path);
    size_t length = strlen(name);
    for (const char *line = all; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return strtol(line + length + 1, NULL, 0);
    return -1;
}

static _Atomic bool stop;
static _Atomic pid_t tid;

static void *other(void *argument) {
    prctl(PR_SET_NAME, "second");
    tid = check_tid();
    while (!stop)
        check_sleep_ms(1);
    return argument;
}

static void print_link(const char *path) {
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length == -1) {
        check_line(path, "-1 %s", check_errno_name(errno));
        return;
    }
    target[length] = 0;
    const char *slash = strrchr(target, '/');
    check_line(path, "%s", slash && slash[1] ? slash + 1 : target);
}

int main(int count, char **arguments) {
    check_enter_scratch();
    pid_t pid = getpid();
    prctl(PR_SET_NAME, "first");
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, other, NULL) == 0);
    while (tid == 0)
        sched_yield();

    char name[32] = "";
    sscanf(contents("/proc/self/status"), "Name:\t%31s", name);
    TEXT("status: Name", name);
    IS("status: Pid", field("/proc/self/status", "Pid") == pid);
    IS("status: Tgid", field("/proc/self/status", "Tgid") == pid);
    IS("status: PPid", field("/proc/self/status", "PPid") == getppid());
    VALUE("status: Threads", field("/proc/self/status", "Threads"));
    VALUE("status: TracerPid", field("/proc/self/status", "TracerPid"));
    VALUE("status: Uid", field("/proc/self/status", "Uid"));
    VALUE("status: Gid", field("/proc/self/status", "Gid"));
    IS("status: VmSize >= VmRSS", field("/proc/self/status", "VmSize") >= field("/proc/self/status", "VmRSS"));
    IS("status: VmRSS", field("/proc/self/status", "VmRSS") > 100);
    IS("status: VmHWM >= VmRSS", field("/proc/self/status", "VmHWM") >= 100);
    IS("status: VmPeak >= VmSize", field("/proc/self/status", "VmPeak") >= field("/proc/self/status", "VmSize"));
    VALUE("status: VmSwap", field("/proc/self/status", "VmSwap"));
    IS("status: VmStk", field("/proc/self/status", "VmStk") > 0);
    IS("status: voluntary switches", field("/proc/self/status", "voluntary_ctxt_switches") >= 0);
    IS("status: Cpus_allowed", strstr(contents("/proc/self/status"), "\nCpus_allowed:\t") != NULL);
    IS("status: Mems_allowed_list", strstr(contents("/proc/self/status"), "\nMems_allowed_list:\t0\n") != NULL);
    IS("status: State", strstr(contents("/proc/self/status"), "\nState:\tR (running)\n") != NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    signal(SIGUSR2, SIG_IGN);
    IS("status: SigBlk", strstr(contents("/proc/self/status"), "\nSigBlk:\t0000000000000200\n") != NULL);
    IS("status: SigPnd", strstr(contents("/proc/self/status"), "\nSigPnd:\t0000000000000200\n") != NULL);
    IS("status: SigIgn", strstr(contents("/proc/self/status"), "\nSigIgn:\t0000000000000800\n") != NULL);

    const char *stat_line = contents("/proc/self/stat"), *rest = strrchr(stat_line, ')');
    IS("stat: begins with the pid and name", ({ char want[64]; snprintf(want, sizeof want, "%d (first) ", pid); strncmp(stat_line, want, strlen(want)) == 0; }));
    char state = 0;
    long values[60] = {0};
    int parsed = 0;
    sscanf(rest, ") %c", &state);
    for (const char *at = rest + 3; *at && parsed < 60; parsed++) {
        char *end;
        values[parsed] = strtol(at, &end, 10);
        if (end == at)
            break;
        at = end;
    }
    check_line("stat: state", "%c", state);
    // proc(5) numbers the fields from 1: field n is values[n - 4].
    IS("stat: 52 fields", parsed == 49);
    IS("stat: parent", values[0] == getppid());
    VALUE("stat: threads (20)", values[16]);
    IS("stat: start time (22)", values[18] >= 0);
    IS("stat: virtual size (23)", values[19] / 1024 >= field("/proc/self/status", "VmRSS"));
    IS("stat: resident pages (24)", values[20] > 10);
    IS("stat: stack start (28) is above a local", values[24] == 0 || (unsigned long)values[24] > (unsigned long)&state);

    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    snprintf(text, 64, "%d (second) ", tid);
    char want[64];
    strcpy(want, text);
    IS("task: stat of the other thread", strncmp(contents(path), want, strlen(want)) == 0);
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    IS("task: Pid is the thread's", field(path, "Pid") == tid);
    IS("task: Tgid is the process's", field(path, "Tgid") == pid);
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    check_line("comm", "%.5s", contents(path));
    snprintf(path, sizeof path, "/proc/%d/comm", tid);
    check_line("comm by thread id, which /proc does not list", "%.6s", contents(path));
    DIR *tasks = opendir("/proc/self/task");
    int listed = 0, known = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        if (entry->d_name[0] != '.') {
            listed++;
            known += atoi(entry->d_name) == pid || atoi(entry->d_name) == tid;
        }
    closedir(tasks);
    check_line("task: listed and known", "%d %d", listed, known);
    CALL("task: no such thread", open("/proc/self/task/999999999/stat", O_RDONLY));
    stop = true;
    pthread_join(thread, NULL);

    contents("/proc/self/cmdline");
    IS("cmdline: begins with argv[0]", strcmp(text, arguments[0]) == 0);
    VALUE("arguments", count);
    setenv("ADDED_LATER", "1", 1);
    contents("/proc/self/environ");
    IS("environ is that of the start", strstr(text, "ADDED_LATER") == NULL);
    print_link("/proc/self/exe");
    mkdir("here", 0700);
    chdir("here");
    print_link("/proc/self/cwd");
    print_link("/proc/self/root");
    int fd = open("named file", O_RDWR | O_CREAT, 0600);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    char target[PATH_MAX] = "";
    readlink(path, target, sizeof target - 1);
    TEXT("fd: link", strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
    write(fd, "12345", 5);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    VALUE("fdinfo: pos", field(path, "pos"));
    VALUE("fdinfo: flags", field(path, "flags"));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY);
    CALL("fd: opening the link opens the file anew", lseek(again, 0, SEEK_CUR));
    unlink("named file");
    memset(target, 0, sizeof target);
    readlink(path, target, sizeof target - 1);
    IS("fd: unlinked", strstr(target, "named file (deleted)") != NULL);
    CALL_OK("fd: an unlinked file can be opened by it", open(path, O_RDONLY));
    int end[2];
    REQUIRE(pipe(end) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", end[0]);
    memset(target, 0, sizeof target);
    readlink(path, target, sizeof target - 1);
    IS("fd: a pipe is pipe:[inode]", ({ struct stat status; fstat(end[0], &status); char expect[64]; snprintf(expect, sizeof expect, "pipe:[%lu]", status.st_ino); strcmp(expect, target) == 0; }));
    int listed_fds = 0, open_fds = 0;
    DIR *fds = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(fds)) != NULL;)
        listed_fds += entry->d_name[0] != '.';
    for (int i = 0; i < 1024; i++)
        open_fds += fcntl(i, F_GETFD) != -1;
    closedir(fds);
    IS("fd: lists what is open", listed_fds == open_fds);
    CALL("fd: not open", readlink("/proc/self/fd/1000", target, 10));
    CALL("fd: created", open("/proc/self/fd/7777", O_WRONLY | O_CREAT, 0600));
    CALL("proc: created", open("/proc/new", O_WRONLY | O_CREAT, 0600));
    CALL("proc: mkdir", mkdir("/proc/new", 0700));
    CALL("proc: unlink", unlink("/proc/self/maps"));

    struct rlimit limit = {123, 456}, saved;
    getrlimit(RLIMIT_NOFILE, &saved);
    limit.rlim_max = saved.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    char *line = strstr((char *)(uintptr_t)contents("/proc/self/limits"), "Max open files");
    long soft = 0;
    IS("limits: open files", line && sscanf(line, "Max open files %ld", &soft) == 1 && soft == 123);
    setrlimit(RLIMIT_NOFILE, &saved);
    unsigned long auxv[64];
    fd = open("/proc/self/auxv", O_RDONLY);
    ssize_t length = read(fd, auxv, sizeof auxv);
    bool same = length > 0;
    for (ssize_t i = 0; i < length / 16; i++)
        // glibc puts its own words in the place of these three.
        if (auxv[2 * i] != AT_NULL && auxv[2 * i] != AT_HWCAP && auxv[2 * i] != AT_HWCAP2 && auxv[2 * i] != AT_PLATFORM)
            same = same && getauxval(auxv[2 * i]) == auxv[2 * i + 1];
    IS("auxv: as getauxval says", same);
    IS("mountinfo: has /", strstr(contents("/proc/self/mountinfo"), " / / ") != NULL);
    IS("mountinfo: has /proc", strstr(contents("/proc/self/mountinfo"), " / /proc ") != NULL);
    IS("mountinfo: has the separator", strstr(text, " - proc ") != NULL);
    IS("mounts: has /proc", strstr(contents("/proc/self/mounts"), " /proc proc ") != NULL);
    IS("cgroup: a line for the unified hierarchy", strstr(contents("/proc/self/cgroup"), "0::/") != NULL);
    IS("oom_score_adj", atoi(contents("/proc/self/oom_score_adj")) <= 1000);
    IS("coredump_filter is a number", strtol(contents("/proc/self/coredump_filter"), NULL, 16) > 0);
    fd = open("/proc/self/coredump_filter", O_RDWR);
    CALL("coredump_filter: write", write(fd, "0x11", 4));
    check_line("coredump_filter", "%.8s", contents("/proc/self/coredump_filter"));
    print_link("/proc/mounts");
    IS("/proc/self is the pid", ({ memset(target, 0, 64); readlink("/proc/self", target, 63); atoi(target) == pid; }));
    IS("/proc/thread-self", ({ memset(target, 0, 64); readlink("/proc/thread-self", target, 63); strstr(target, "/task/") != NULL; }));
    struct stat status;
    CALL("stat of a /proc file", stat("/proc/self/status", &status));
    check_line("mode and size", "%o %ld", status.st_mode, (long)status.st_size);
    return 0;
}
