// There is one process: what would make another is refused at once, with an errno that libraries expect.
#include "check.h"
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>

int main(void) {
    char *arguments[] = {"true", NULL}, *environment[] = {NULL};
    CALL("fork", fork());
    CALL("raw fork", syscall(SYS_fork));
    CALL("raw vfork", syscall(SYS_vfork));
    CALL("clone of a process", syscall(SYS_clone, SIGCHLD, 0, NULL, NULL, 0));
    CALL("clone of a vfork kind", syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, NULL, NULL, 0));
    CALL("execve", execve("/bin/true", arguments, environment));
    CALL("execve, missing", execve("/nosuch", arguments, environment));
    pid_t pid;
    PTHREAD("posix_spawn", posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environment));
    CALL("system", system("true"));
    int status;
    CALL("wait", wait(&status));
    CALL("waitpid, at once", waitpid(-1, &status, WNOHANG));
    return 0;
}
