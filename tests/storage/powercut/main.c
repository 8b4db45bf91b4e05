/*
 * What survives a power cut: writes files in many ways until the machine is cut off, and checks afterwards what is left.
 *
 *   powercut run DIR GENERATION SEED PATTERN[,PATTERN...] < LOG    checks what earlier runs have left, and then writes
 *   powercut check DIR < LOG                                       checks only
 *
 * Each run has a generation, from 1, and each of its patterns a thread (numbered from 0) with a folder of its own,
 * DIR/gGENERATION/tTHREAD. What has been acknowledged (fsync(2) and its kin have returned) is printed in lines
 * "log GENERATION THREAD WHAT NUMBER VALUE", each by one write(2). All these lines of all runs on the volume are the LOG of the
 * next: what they promise is what the check asks for. They come after the fact, but for those of a WHAT in -ing, which come before
 * something is undone. Meanwhile "tick" is printed: whoever has cut the disk off knows after two of them that all earlier lines
 * have arrived.
 *
 * Contents describe themselves: files consist of cells of 64 bytes that hold the file's number, its version, the offset, filling
 * that follows from these, and a sum. So each byte of each file is known, and what is foreign in a file tells where it is from.
 * What was acknowledged must be there to the byte. What was not may be there, may be zeros, or half of each.
 *
 * Patterns are in writer.c. They are the same in PowerCut.java.
 */
#include "powercut.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    /* Each line by one write, so that those of several threads do not mix. */
    setvbuf(stdout, NULL, _IOLBF, 4096);
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]) ? 0 : 1;
    if (argc == 6 && strcmp(argv[1], "run") == 0) {
        start_ticks();
        if (!check(argv[2]))
            return 1;
        write_on(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), argv[5]);
    }
    fprintf(stderr, "usage: powercut run DIR GENERATION SEED PATTERN[,PATTERN...] < LOG\n"
                    "       powercut check DIR < LOG\n");
    return 2;
}
