// Extended attributes in the trusted name space, which root has on every file system that keeps any.
#include "check.h"
#include <sys/xattr.h>

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void print_list(const char *name, const char *path) {
    char list[512];
    ssize_t length = listxattr(path, list, sizeof list);
    if (length < 0) {
        check_line(name, "-1 %s", check_errno_name(errno));
        return;
    }
    char *names[16];
    size_t count = 0;
    for (char *at = list; at < list + length && count < 16; at += strlen(at) + 1)
        if (strncmp(at, "trusted.", 8) == 0)
            names[count++] = at;
    qsort(names, count, sizeof *names, compare);
    char text[512] = "";
    for (size_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), " %s", names[i]);
    check_line(name, "%s", *text ? text + 1 : "none");
}

int main(void) {
    check_enter_scratch();
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    REQUIRE(fd >= 0);
    char value[64];
    CALL("get, none", getxattr("file", "trusted.a", value, sizeof value));
    CALL("set", setxattr("file", "trusted.a", "hello", 5, 0));
    CALL("get", getxattr("file", "trusted.a", value, sizeof value));
    check_line("value", "%.5s", value);
    CALL("get its size", getxattr("file", "trusted.a", NULL, 0));
    CALL("get, no room", getxattr("file", "trusted.a", value, 2));
    CALL("create, exists", setxattr("file", "trusted.a", "x", 1, XATTR_CREATE));
    CALL("replace, none", setxattr("file", "trusted.b", "x", 1, XATTR_REPLACE));
    CALL("create", fsetxattr(fd, "trusted.b", "", 0, XATTR_CREATE));
    CALL("get an empty one", fgetxattr(fd, "trusted.b", value, sizeof value));
    CALL("replace", fsetxattr(fd, "trusted.a", "goodbye", 7, XATTR_REPLACE));
    CALL("get the new one", fgetxattr(fd, "trusted.a", value, sizeof value));
    print_list("list", "file");
    CALL("list, no room", listxattr("file", value, 1));
    CALL("remove", removexattr("file", "trusted.a"));
    CALL("remove again", removexattr("file", "trusted.a"));
    print_list("list", "file");
    CALL("unknown flag", setxattr("file", "trusted.a", "x", 1, 4));
    CALL("no name space", setxattr("file", "name", "x", 1, 0));
    CALL("unknown name space", setxattr("file", "nosuch.name", "x", 1, 0));
    CALL("empty name", setxattr("file", "", "x", 1, 0));
    CALL("missing file", getxattr("missing", "trusted.a", value, sizeof value));
    CALL("closed", fgetxattr(1000, "trusted.a", value, sizeof value));
    CALL("bad name", getxattr("file", UNMAPPED, value, sizeof value));
    CALL("bad value", setxattr("file", "trusted.a", UNMAPPED, 5, 0));
    CALL("value too large", setxattr("file", "trusted.a", value, 70000, 0));
    return 0;
}
