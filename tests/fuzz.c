/* SPDX-License-Identifier: MIT */
/*
 * The targets of fuzzing without a fuzzer: what was found once, from corpus/TARGET/, and bytes drawn by lot. Takes the
 * directory of the corpus, how many are to be drawn for each target, and the one target that is wanted.
 */
#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fuzz/targets.h"
#include "inputs.h"

enum { LONGEST = 4096, DRAWN = 160 };

static const struct {
    const char *name;
    void (*run)(cursor *c);
} targets[] = { { "results", fuzz_results }, { "arguments", fuzz_arguments }, { "parts", fuzz_parts } };

static void replay(size_t target, const char *directory, const char *name)
{
    uint8_t bytes[LONGEST];
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    check_case("%s of %s", targets[target].name, name);
    if (!check(file != NULL, "it cannot be read"))
        return;
    cursor c = { bytes, bytes + fread(bytes, 1, sizeof(bytes), file) };
    fclose(file);
    targets[target].run(&c);
}

static void replay_all(size_t target, const char *corpus)
{
    char directory[512];
    snprintf(directory, sizeof(directory), "%s/%s", corpus, targets[target].name);
    DIR *files = opendir(directory);
    check_case("the corpus of %s", targets[target].name);
    if (!check(files != NULL, "it cannot be read"))
        return;
    for (const struct dirent *entry; (entry = readdir(files)) != NULL;)
        if (entry->d_name[0] != '.')
            replay(target, directory, entry->d_name);
    closedir(files);
}

static void draw(size_t target, size_t count)
{
    random_state r = { check_seed() };
    uint8_t bytes[DRAWN];
    check_case("%s of bytes drawn by lot", targets[target].name);
    for (size_t i = 0; i < count && !check_failed(); i++) {
        for (size_t b = 0; b < sizeof(bytes); b++)
            bytes[b] = (uint8_t)random_bits(&r);
        cursor c = { bytes, bytes + random_below(&r, sizeof(bytes) + 1) };
        targets[target].run(&c);
    }
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    const size_t count = optind + 1 < argc ? strtoul(argv[optind + 1], NULL, 10) : 500;
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        if (optind + 2 < argc && strcmp(argv[optind + 2], targets[i].name) != 0)
            continue;
        replay_all(i, optind < argc ? argv[optind] : "tests/fuzz/corpus");
        draw(i, count);
    }
    return check_finish();
}
