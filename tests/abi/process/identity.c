// Who we are: user and group ids, sessions, capabilities, and the calls that change them.
#include "check.h"
#include <grp.h>
#include <sys/fsuid.h>

int main(void) {
    uid_t real, effective, saved;
    VALUE("getuid", getuid());
    VALUE("geteuid", geteuid());
    VALUE("getgid", getgid());
    VALUE("getegid", getegid());
    CALL("getresuid", getresuid(&real, &effective, &saved));
    check_line("ids", "%d %d %d", real, effective, saved);
    CALL("getresgid", getresgid(&real, &effective, &saved));
    check_line("ids", "%d %d %d", real, effective, saved);
    CALL("getresuid, bad pointer", syscall(SYS_getresuid, UNMAPPED, &effective, &saved));
    IS("gettid of the main thread is the pid", check_tid() == getpid());
    IS("pid is positive", getpid() > 0);
    CALL_OK("process group", getpgrp());
    IS("process group of us by number", getpgid(0) == getpgid(getpid()));
    IS("session", getsid(0) >= 0);
    CALL("process group of nobody", getpgid(0x3ffffff));
    CALL("process group of a negative", getpgid(-1));
    CALL("session of nobody", getsid(0x3ffffff));
    CALL("getgroups, negative", getgroups(-1, NULL));
    IS("getgroups, count", getgroups(0, NULL) >= 0);
    gid_t groups[3] = {5, 6, 7};
    CALL("setgroups", setgroups(3, groups));
    CALL("getgroups, count", getgroups(0, NULL));
    CALL("getgroups, no room", getgroups(2, groups));
    CALL("setgroups, bad pointer", setgroups(3, UNMAPPED));
    CALL("setgroups, too many", syscall(SYS_setgroups, 70000, groups));
    CALL("setgroups, none", setgroups(0, NULL));
    CALL("setfsuid tells the old one", setfsuid(-1));
    CALL("setuid 0", setuid(0));
    CALL("setresuid -1", setresuid(-1, -1, -1));
    CALL("setuid -1", setuid(-1));
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0}, wrong = {0, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } data[2] = {0};
    CALL("capget", syscall(SYS_capget, &header, data));
    IS("root has capabilities", data[0].effective != 0);
    CALL("capget, unknown version", syscall(SYS_capget, &wrong, data));
    HEX("it tells the one it wants", wrong.version);
    CALL("personality", syscall(SYS_personality, 0xffffffffUL));
    CALL("sethostname, negative length", syscall(SYS_sethostname, "x", -1));
    return 0;
}
