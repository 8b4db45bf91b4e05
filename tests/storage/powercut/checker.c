/* What must be in the files, and what may be. */
#define _GNU_SOURCE
#include "powercut.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum deletion { KEPT, DELETING, DELETED };

/* What the log says of one number of a thread: a file, a slot, a folder. */
struct item {
    bool is_known, is_cut;
    enum deletion deletion;
    /* A size or a version, whichever the pattern has. */
    u64 value;
    /* Slots of a preallocated file that were written. */
    bool written[PREALLOCATED / PREALLOCATED_SLOT];
};

/* What it says of one thread of one generation. */
struct area {
    u64 generation, thread;
    char pattern[32];
    bool is_ready;
    enum deletion deletion;
    struct item *items;
    u64 count;
};

static struct area *areas;
static u64 area_count, acknowledged, problems, files_checked, bytes_checked;

static void problem(const char *path, const char *format, ...)
{
    if (++problems > 20)
        return;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("wrong: %s: %s\n", path, text);
}

static struct area *area_of(u64 generation, u64 thread)
{
    for (u64 i = 0; i < area_count; i++)
        if (areas[i].generation == generation && areas[i].thread == thread)
            return &areas[i];
    areas = realloc(areas, (area_count + 1) * sizeof *areas);
    areas[area_count] = (struct area){.generation = generation, .thread = thread};
    return &areas[area_count++];
}

static struct item *item_of(struct area *area, u64 number)
{
    while (area->count <= number) {
        u64 more = area->count * 2 + 16;
        area->items = realloc(area->items, more * sizeof *area->items);
        memset(area->items + area->count, 0, (more - area->count) * sizeof *area->items);
        area->count = more;
    }
    return &area->items[number];
}

/* Takes a line of the log; false if it is none that is known. */
static bool take(const char *line)
{
    u64 generation, thread, number, value;
    char what[32];
    if (sscanf(line, "log %" SCNu64 " %" SCNu64 " %31s %" SCNu64 " %" SCNu64, &generation, &thread, what, &number, &value) != 5)
        return false;
    acknowledged++;
    struct area *area = area_of(generation, thread);
    if (strncmp(what, "pattern-", 8) == 0) {
        snprintf(area->pattern, sizeof area->pattern, "%s", what + 8);
        return true;
    }
    if (strcmp(what, "removing") == 0 || strcmp(what, "removed") == 0) {
        for (u64 i = 0; i < area_count; i++)
            if (areas[i].generation == generation)
                areas[i].deletion = what[5] == 'i' ? DELETING : DELETED;
        return true;
    }
    if (strcmp(what, "slots") == 0) {
        area->is_ready = true;
        return true;
    }
    if (strcmp(what, "full") == 0)
        return true;
    struct item *item = item_of(area, number);
    if (strcmp(what, "deleting") == 0) {
        item->deletion = DELETING;
    } else if (strcmp(what, "deleted") == 0) {
        item->deletion = DELETED;
    } else if (strcmp(what, "written") == 0 && value < PREALLOCATED / PREALLOCATED_SLOT) {
        item->written[value] = true;
    } else if (strcmp(what, "cutting") == 0 || strcmp(what, "cut") == 0) {
        item->value = value;
        item->is_cut = what[3] == 0;
    } else if (strcmp(what, "size") == 0 || strcmp(what, "version") == 0 || strcmp(what, "slot") == 0 ||
               strcmp(what, "grown") == 0 || strcmp(what, "allocated") == 0 || strcmp(what, "folder") == 0) {
        item->is_known = true;
        item->value = value;
    } else {
        return false;
    }
    return true;
}

/* ---- contents ---- */

struct contents {
    const char *path;
    u8 *bytes;
    u64 size;
};

static struct contents read_file(int folder, const char *name, const char *path)
{
    struct contents contents = {.path = path};
    struct stat stat;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &stat) < 0) {
        problem(path, "cannot be opened: %s", strerror(errno));
        return contents;
    }
    if (stat.st_size > 64 << 20) {
        problem(path, "is %ld bytes long", stat.st_size);
        close(fd);
        return contents;
    }
    contents.bytes = malloc(stat.st_size + 1);
    while (contents.size < (u64)stat.st_size) {
        ssize_t got = read(fd, contents.bytes + contents.size, stat.st_size - contents.size);
        if (got <= 0) {
            problem(path, "reading at %lu of %ld: %s", contents.size, stat.st_size, got ? strerror(errno) : "end of file");
            break;
        }
        contents.size += got;
    }
    close(fd);
    files_checked++;
    bytes_checked += contents.size;
    return contents;
}

/* What may be in a range beside one whole version. */
enum strictness {
    /* Nothing. */
    WHOLE,
    /* Bytes of all allowed versions. */
    TORN,
    /* And zeros, where data have not arrived. */
    TORN_OR_ZEROS,
};

static void describe(char *to, size_t len, const u8 *bytes, u64 count)
{
    struct cell cell = {0};
    bool is_zero = true;
    for (u64 i = 0; i < count; i++)
        is_zero &= bytes[i] == 0;
    if (count == CELL)
        memcpy(&cell, bytes, CELL);
    if (is_zero)
        snprintf(to, len, "zeros");
    else if (count == CELL && cell.sum == cell_sum(&cell))
        snprintf(to, len, "what belongs to generation %lu, thread %lu, file %lu, version %lu, offset %lu", cell.file >> 48,
                 cell.file >> 40 & 0xff, cell.file & 0xffffffffff, cell.version, cell.offset);
    else
        snprintf(to, len, "what nobody wrote so (%02x %02x %02x %02x...)", bytes[0], bytes[1], bytes[2], bytes[3]);
}

/* A range of a file must hold a version from `low` to `high`. */
static void expect(const struct contents *contents, u64 from, u64 to, u64 file, u64 low, u64 high, enum strictness strictness)
{
    if (to > contents->size)
        to = contents->size;
    for (u64 at = from; at < to;) {
        u64 start = at / CELL * CELL, end = start + CELL < to ? start + CELL : to;
        bool is_allowed[CELL] = {false}, is_whole = false;
        for (u64 version = low; version <= high && !is_whole; version++) {
            u8 cell[CELL];
            make_cell((struct cell *)cell, file, version, start);
            is_whole = memcmp(cell + (at - start), contents->bytes + at, end - at) == 0;
            for (u64 i = at; i < end; i++)
                is_allowed[i - start] |= contents->bytes[i] == cell[i - start];
        }
        bool is_right = strictness != WHOLE;
        for (u64 i = at; i < end; i++)
            is_right &= is_allowed[i - start] || (strictness == TORN_OR_ZEROS && contents->bytes[i] == 0);
        if (!is_whole && !is_right) {
            char what[200];
            describe(what, sizeof what, contents->bytes + at, end - at);
            problem(contents->path, "at %lu of %lu is not version %lu%s but %s", at, contents->size, low,
                    high > low ? " or the next" : "", what);
            return;
        }
        at = end;
    }
}

static void expect_size(const struct contents *contents, u64 low, u64 high)
{
    if (contents->size < low || contents->size > high)
        problem(contents->path, "is %lu bytes long, and should be %lu to %lu", contents->size, low, high);
}

/* ---- patterns: each judges a name in its folder, and says of which number it is ---- */

static bool is_file(const char *name, const char *format, u64 *number)
{
    int end = 0;
    return sscanf(name, format, number, &end) == 1 && name[end] == 0;
}

static bool judge_append(struct area *area, int folder, const char *name, const char *path, u64 *number)
{
    if (!is_file(name, "log%lu%n", number))
        return false;
    u64 acked = item_of(area, *number)->value, file = file_number(area->generation, area->thread, *number);
    struct contents contents = read_file(folder, name, path);
    expect_size(&contents, acked, UINT64_MAX);
    expect(&contents, 0, acked, file, 1, 1, WHOLE);
    expect(&contents, acked, UINT64_MAX, file, 1, 1, TORN_OR_ZEROS);
    free(contents.bytes);
    return true;
}

static bool judge_replace(struct area *area, int folder, const char *name, const char *path, u64 *number)
{
    bool is_final = is_file(name, "name%lu%n", number);
    if (!is_final && !is_file(name, "name%lu.new%n", number))
        return false;
    u64 acked = item_of(area, *number)->value, file = file_number(area->generation, area->thread, *number);
    struct contents contents = read_file(folder, name, path);
    if (is_final) {
        u64 version = acked > 0 && contents.size == renamed_size(file, acked) ? acked : acked + 1;
        u64 size = renamed_size(file, version);
        expect_size(&contents, size, size);
        expect(&contents, 0, size, file, version, version, WHOLE);
    } else {
        expect_size(&contents, 0, renamed_size(file, acked + 1));
        expect(&contents, 0, UINT64_MAX, file, acked + 1, acked + 1, TORN_OR_ZEROS);
        /* This name may come and go. */
        *number = UINT64_MAX;
    }
    free(contents.bytes);
    return true;
}

static bool judge_slots(struct area *area, int folder, const char *name, const char *path, u64 *number)
{
    if (strcmp(name, "slots") != 0)
        return false;
    *number = UINT64_MAX;
    u64 file = file_number(area->generation, area->thread, 0);
    struct contents contents = read_file(folder, name, path);
    expect_size(&contents, area->is_ready ? SLOTS * SLOT : 0, SLOTS * SLOT);
    for (u64 slot = 0; slot < SLOTS; slot++) {
        u64 acked = item_of(area, slot)->value, next = area->is_ready ? acked + 1 : acked;
        expect(&contents, slot * SLOT, (slot + 1) * SLOT, file, acked, next, TORN);
    }
    free(contents.bytes);
    return true;
}

static bool judge_churn(struct area *area, int folder, const char *name, const char *path, u64 *number)
{
    *number = UINT64_MAX;
    if (strcmp(name, "ballast") == 0) {
        struct contents zeros = read_file(folder, name, path);
        expect(&zeros, 0, UINT64_MAX, 0, 0, 0, WHOLE);
        free(zeros.bytes);
        return true;
    }
    if (!is_file(name, "f%lu%n", number))
        return false;
    const struct item *item = item_of(area, *number);
    u64 file = file_number(area->generation, area->thread, *number);
    struct contents contents = read_file(folder, name, path);
    expect_size(&contents, item->value, item->is_cut ? item->value : UINT64_MAX);
    expect(&contents, 0, item->value, file, 1, 1, WHOLE);
    expect(&contents, item->value, UINT64_MAX, file, 1, 1, TORN_OR_ZEROS);
    free(contents.bytes);
    return true;
}

static bool judge_preallocated(struct area *area, int folder, const char *name, const char *path, u64 *number)
{
    if (!is_file(name, "f%lu%n", number))
        return false;
    const struct item *item = item_of(area, *number);
    u64 file = file_number(area->generation, area->thread, *number), least = item->value;
    struct contents contents = read_file(folder, name, path);
    for (u64 slot = 0; slot < PREALLOCATED / PREALLOCATED_SLOT; slot++) {
        u64 start = slot * PREALLOCATED_SLOT, end = start + PREALLOCATED_SLOT;
        if (item->written[slot] && end > least)
            least = end;
        expect(&contents, start, end, file, item->written[slot] ? 1 : 0, item->is_known ? 1 : 0, TORN);
    }
    expect_size(&contents, least, PREALLOCATED);
    free(contents.bytes);
    return true;
}

static bool judge_small(struct area *area, int folder, const char *name, const char *path, u64 *number)
{
    if (!is_file(name, "d%lu%n", number))
        return false;
    const struct item *item = item_of(area, *number);
    int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = inner < 0 ? NULL : fdopendir(inner);
    if (!entries) {
        problem(path, "cannot be opened: %s", strerror(errno));
        return true;
    }
    bool is_whole = item->is_known, may_lack = item->deletion != KEPT || area->deletion != KEPT || !is_whole;
    bool has_file[SMALL_FILES] = {false}, has_link = false;
    for (struct dirent *entry; (entry = readdir(entries));) {
        char below[PATH];
        u64 which;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%.200s/%.200s", path, entry->d_name);
        if (strcmp(entry->d_name, "link") == 0) {
            char target[TARGET_MAX + 1], found[TARGET_MAX + 1] = {0};
            small_target(target, file_number(area->generation, area->thread, *number));
            if (readlinkat(inner, "link", found, sizeof found - 1) < 0 || strcmp(target, found) != 0)
                problem(below, "leads to %.200s", found);
            has_link = true;
        } else if (is_file(entry->d_name, "s%lu%n", &which) && which < SMALL_FILES) {
            u64 file = file_number(area->generation, area->thread, small_number(*number, which));
            struct contents contents = read_file(inner, entry->d_name, below);
            expect_size(&contents, is_whole ? small_size(file) : 0, small_size(file));
            expect(&contents, 0, UINT64_MAX, file, 1, 1, is_whole ? WHOLE : TORN_OR_ZEROS);
            free(contents.bytes);
            has_file[which] = true;
        } else {
            problem(below, "is none of ours");
        }
    }
    closedir(entries);
    for (int i = 0; i < SMALL_FILES && !may_lack; i++)
        if (!has_file[i])
            problem(path, "has lost s%d", i);
    if (!may_lack && !has_link)
        problem(path, "has lost its link");
    return true;
}

static const struct {
    const char *name;
    bool (*judge)(struct area *, int folder, const char *name, const char *path, u64 *number);
    /* How the file or folder of a number that is known is called; NULL if all numbers are one file's. */
    const char *format;
} PATTERNS[] = {
    {"append", judge_append, "log%lu"},
    {"replace", judge_replace, "name%lu"},
    {"overwrite", judge_slots, NULL},
    {"mapping", judge_slots, NULL},
    {"reuse", judge_churn, "f%lu"},
    {"full", judge_churn, "f%lu"},
    {"preallocate", judge_preallocated, "f%lu"},
    {"small", judge_small, "d%lu"},
};

static void check_area(struct area *area, const char *root)
{
    char path[PATH], below[PATH], name[64];
    snprintf(path, sizeof path, "%s/g%lu/t%lu", root, area->generation, area->thread);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = folder < 0 ? NULL : fdopendir(folder);
    if (!entries) {
        if (area->pattern[0] && area->deletion == KEPT)
            problem(path, "cannot be opened: %s", strerror(errno));
        return;
    }
    if (area->deletion == DELETED)
        problem(path, "is there again");
    size_t which = 0, pattern_count = sizeof PATTERNS / sizeof *PATTERNS;
    while (which < pattern_count && strcmp(PATTERNS[which].name, area->pattern) != 0)
        which++;
    bool *is_there = calloc(area->count + 1, sizeof *is_there), has_any = false;
    u64 known = area->count;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%.200s/%.200s", path, entry->d_name);
        u64 number = UINT64_MAX;
        has_any = true;
        if (which == pattern_count || !PATTERNS[which].judge(area, folder, entry->d_name, below, &number))
            problem(below, "is none of ours");
        else if (number < known)
            is_there[number] = true;
    }
    closedir(entries);
    if (area->is_ready && !has_any && area->deletion == KEPT)
        problem(path, "has lost its file");
    for (u64 number = 0; which < pattern_count && PATTERNS[which].format && number < known; number++) {
        const struct item *item = &area->items[number];
        snprintf(name, sizeof name, PATTERNS[which].format, number);
        snprintf(below, sizeof below, "%.200s/%.200s", path, name);
        if (item->is_known && item->deletion == KEPT && area->deletion == KEPT && !is_there[number])
            problem(below, "is lost");
        if (item->deletion == DELETED && is_there[number])
            problem(below, "is there again");
    }
    free(is_there);
}

bool check(const char *root)
{
    char line[256], path[PATH];
    while (fgets(line, sizeof line, stdin))
        if (!take(line))
            problem("the log", "has %s", line);
    DIR *entries = opendir(root);
    if (!entries) {
        printf("wrong: %s: %s\n", root, strerror(errno));
        return false;
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        u64 generation;
        snprintf(path, sizeof path, "%.200s/%.200s", root, entry->d_name);
        if (is_file(entry->d_name, "g%lu%n", &generation) || entry->d_name[0] == '.')
            continue;
        if (strcmp(entry->d_name, "lost+found") != 0)
            problem(path, "is none of ours");
    }
    closedir(entries);
    for (u64 i = 0; i < area_count; i++)
        check_area(&areas[i], root);
    if (problems > 0)
        printf("wrong: %lu problems in all\n", problems);
    printf("checked %lu files, %lu bytes, %lu acknowledgements\n", files_checked, bytes_checked, acknowledged);
    fflush(stdout);
    return problems == 0;
}
