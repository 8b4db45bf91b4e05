// mount and umount2 without CAP_SYS_ADMIN: what is wrong with the arguments comes first.
#include "check.h"
#include <linux/capability.h>
#include <sys/mount.h>

static void drop_capability(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    REQUIRE(syscall(SYS_capget, &header, data) == 0);
    for (int word = 0; word < 2; word++)
        data[word].inheritable = 0;
    data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
    /* Where nobody has any capability there is none to drop. */
    (void)syscall(SYS_capset, &header, data);
}

int main(void) {
    void *bad = (void *)8;
    check_enter_scratch();
    REQUIRE(mkdir("there", 0755) == 0 && symlink("nowhere", "link") == 0);
    drop_capability();
    CALL("mount", mount("none", "there", "tmpfs", 0, NULL));
    CALL("mount of an unknown type", mount("none", "there", "nosuchtype", 0, NULL));
    CALL("mount with data", mount("none", "there", "tmpfs", 0, "size=1m"));
    CALL("mount without a type", mount("none", "there", NULL, MS_BIND, NULL));
    CALL("remount", mount(NULL, "there", NULL, MS_REMOUNT, NULL));
    CALL("mount nowhere", mount("none", "absent", "tmpfs", 0, NULL));
    CALL("mount at a broken link", mount("none", "link", "tmpfs", 0, NULL));
    CALL("mount at no path", mount("none", bad, "tmpfs", 0, NULL));
    CALL("mount of no source", mount(bad, "there", "tmpfs", 0, NULL));
    CALL("mount of no type", mount("none", "there", bad, 0, NULL));
    CALL("mount with no data", mount("none", "there", "tmpfs", 0, bad));
    CALL("umount", umount2("there", 0));
    CALL("umount of the root, lazily", umount2("/", MNT_DETACH));
    CALL("umount without following", umount2("link", UMOUNT_NOFOLLOW));
    CALL("umount at a broken link", umount2("link", 0));
    CALL("umount nowhere", umount2("absent", 0));
    CALL("umount at no path", umount2(bad, 0));
    CALL("umount with unknown flags", umount2("there", 64));
    return 0;
}
