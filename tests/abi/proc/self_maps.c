// /proc/self/maps, smaps, smaps_rollup, pagemap and statm: their shape, and that they tell the truth.
#include "check.h"

struct region {
    unsigned long start, end, offset, inode;
    char permissions[8], name[256];
};

static bool parse(const char *line, struct region *region) {
    unsigned major, minor;
    region->name[0] = 0;
    int fields = sscanf(line, "%lx-%lx %7s %lx %x:%x %lu %255[^\n]", &region->start, &region->end, region->permissions,
                        &region->offset, &major, &minor, &region->inode, region->name);
    return fields >= 7 && strlen(region->permissions) == 4;
}

static bool find(const void *address, struct region *found) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[1024];
    bool is_found = false;
    REQUIRE(maps != NULL);
    while (!is_found && fgets(line, sizeof line, maps))
        is_found = parse(line, found) && (unsigned long)address >= found->start && (unsigned long)address < found->end;
    fclose(maps);
    return is_found;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void print_region(const char *name, const void *address) {
    struct region region;
    if (find(address, &region))
        check_line(name, "%s offset %lx %s%s", region.permissions, region.offset, region.inode ? "inode " : "",
                   base_name(region.name));
    else
        check_line(name, "not there");
}

static long smaps_value(const void *address, const char *field) {
    FILE *smaps = fopen("/proc/self/smaps", "re");
    char line[1024];
    bool inside = false;
    long value = -1;
    REQUIRE(smaps != NULL);
    while (fgets(line, sizeof line, smaps)) {
        struct region region;
        if (parse(line, &region))
            inside = (unsigned long)address >= region.start && (unsigned long)address < region.end;
        else if (inside && strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtol(line + strlen(field) + 1, NULL, 10);
    }
    fclose(smaps);
    return value;
}

static void *other_stack(void *argument) {
    char local;
    struct region region;
    *(int *)argument = find(&local, &region) && strcmp(region.permissions, "rw-p") == 0;
    return NULL;
}

int main(void) {
    check_enter_scratch();
    char local;
    print_region("stack", &local);
    print_region("our code", (void *)(uintptr_t)find);
    print_region("heap", malloc(100));
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[1024];
    int lines = 0, bad = 0, vdso = 0, libc = 0, loader = 0, aligned = 0;
    unsigned long before = 0;
    while (fgets(line, sizeof line, maps)) {
        struct region region;
        lines++;
        if (!parse(line, &region) || region.start >= region.end || region.start < before)
            bad++;
        // The name, if there is one, begins in column 74.
        if (region.name[0] && line + 73 != strstr(line, region.name))
            aligned++;
        before = region.end;
        vdso += strcmp(region.name, "[vdso]") == 0;
        libc += strcmp(base_name(region.name), "libc.so.6") == 0;
        loader += strcmp(base_name(region.name), "ld-linux-x86-64.so.2") == 0;
    }
    fclose(maps);
    VALUE("lines that do not parse or are out of order", bad);
    VALUE("names not in column 74", aligned);
    VALUE("lines named [vdso]", vdso);
    VALUE("lines of libc.so.6", libc);
    IS("lines of the loader", loader >= 4);
    IS("more than ten lines", lines > 10);

    // Walls on both sides, so that nothing merges with what is tested.
    char *area = mmap(NULL, 40 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *memory = area + 10 * PAGE;
    mprotect(memory, 8 * PAGE, PROT_READ | PROT_WRITE);
    madvise(memory, 8 * PAGE, MADV_NOHUGEPAGE);
    print_region("anonymous", memory);
    memset(memory, 1, 3 * PAGE);
    VALUE("smaps: Size", smaps_value(memory, "Size"));
    VALUE("smaps: Rss", smaps_value(memory, "Rss"));
    VALUE("smaps: Pss", smaps_value(memory, "Pss"));
    VALUE("smaps: Private_Dirty", smaps_value(memory, "Private_Dirty"));
    VALUE("smaps: Anonymous", smaps_value(memory, "Anonymous"));
    VALUE("smaps: Swap", smaps_value(memory, "Swap"));
    VALUE("smaps: KernelPageSize", smaps_value(memory, "KernelPageSize"));
    VALUE("smaps: Locked", smaps_value(memory, "Locked"));
    int fd = open("some file", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, 3 * PAGE);
    char *file = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    print_region("file map", file);
    unlink("some file");
    print_region("file map, unlinked", file);
    print_region("shared anonymous", mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    munmap(area, 40 * PAGE);
    print_region("unmapped again", memory);
    int good = 0;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, other_stack, &good) == 0);
    pthread_join(thread, NULL);
    VALUE("another thread's stack is there", good);

    fd = open("/proc/self/maps", O_RDONLY);
    char small[100];
    long total = 0, got;
    while ((got = read(fd, small, sizeof small)) > 0)
        total += got;
    IS("read in small pieces", total > 500);
    CALL("rewind", lseek(fd, 0, SEEK_SET));
    IS("and again", read(fd, small, sizeof small) > 0);
    FILE *statm = fopen("/proc/self/statm", "re");
    long size, resident, shared, text, lib, data, dirty;
    VALUE("fields of statm", fscanf(statm, "%ld %ld %ld %ld %ld %ld %ld", &size, &resident, &shared, &text, &lib, &data, &dirty));
    IS("statm: size > resident > shared", size > resident && resident > shared && text > 0 && data > 0);
    FILE *rollup = fopen("/proc/self/smaps_rollup", "re");
    IS("smaps_rollup has one region", rollup && fgets(line, sizeof line, rollup) && strstr(line, "[rollup]"));
    // Many regions, read while they change.
    area = mmap(NULL, 2000 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 2000; i += 2)
        mprotect(area + i * PAGE, PAGE, PROT_NONE);
    maps = fopen("/proc/self/maps", "re");
    int inside = 0;
    while (fgets(line, sizeof line, maps)) {
        struct region region;
        inside += parse(line, &region) && region.start >= (unsigned long)area && region.end <= (unsigned long)area + 2000 * PAGE;
    }
    fclose(maps);
    // The last piece may have merged with a neighbour.
    IS("two thousand regions", inside >= 1998 && inside <= 2000);
    return 0;
}
