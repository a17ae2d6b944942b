/* misbehave WORD…: a guest program that does what guests must not do; for the tests of the host's patience.
 *
 *     status=N      exit with N                          noexit          return without an exit frame
 *     sleep=SECONDS sleep after main                     spin            never come back, busily
 *     abort         die of SIGABRT after main            segv            die of SIGSEGV after main
 *     silent        say nothing at all, for ever         mute            say main, then nothing for ever
 *     flood=random  bytes without end                    flood=frames    valid frames without end
 *     lie=clock     time runs ten times too fast         lie=status      the exit frame says other than the exit status
 *     lie=huge      a frame longer than the wire allows  lie=nested      valid CRC, nested objects a thousand deep
 *     lie=numbers   values that are no finite numbers    lie=order       exit before main, main twice, numbers that repeat
 * Words are obeyed from left to right.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../common/ukperf.h"

static uint64_t state = 0x9e3779b97f4a7c15; /* xorshift64: floods repeat from boot to boot */

static void flood_random(void)
{
    for (;;) {
        char block[4096];
        for (size_t i = 0; i < sizeof block; i += 8) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            memcpy(block + i, &state, 8);
        }
        uk_put(block, sizeof block);
    }
}

static void flood_frames(void)
{
    for (uint64_t i = 0;; i++) {
        uk_samples_begin("flood", "s", 1);
        for (int k = 0; k < 200; k++)
            uk_samples_ratio(i, 7);
        uk_samples_end();
    }
}

/* A frame with these members and a good CRC, however long or odd. */
static void raw_frame(const char *members)
{
    size_t length = strlen(members) + 64;
    char *frame = malloc(length);
    if (!frame)
        abort();
    int text = snprintf(frame, length, "\x1e{%s,", members);
    text += snprintf(frame + text, length - (size_t)text, "\"crc\":\"%08x\"}\n", uk_crc32(frame + 1, (size_t)text - 1));
    uk_put(frame, (size_t)text);
    free(frame);
}

static void repeated(const char *before, const char *piece, int times, const char *after)
{
    char *members = malloc(strlen(before) + strlen(piece) * (size_t)times + strlen(after) + 1);
    if (!members)
        abort();
    strcpy(members, before);
    char *end = members + strlen(members);
    for (int i = 0; i < times; i++)
        end = stpcpy(end, piece);
    strcpy(end, after);
    raw_frame(members);
    free(members);
}

static void lie(const char *how)
{
    if (!strcmp(how, "clock")) { /* one second of sleep is sold as ten */
        uint64_t t = uk_clock_ns(), tsc = uk_tsc();
        sleep(1);
        uk_begin("phase");
        uk_member_text("name", "later", UK_TEXT_MAX);
        uk_end_at(t + 10 * (uk_clock_ns() - t), tsc + 10 * (uk_tsc() - tsc));
    } else if (!strcmp(how, "status")) {
        uk_exit(0);
        _exit(9);
    } else if (!strcmp(how, "huge")) {
        repeated("\"event\":\"error\",\"n\":1,\"t\":0,\"tsc\":0,\"message\":\"", "0123456789abcdef", 1 << 16, "\"");
    } else if (!strcmp(how, "nested")) {
        repeated("\"event\":\"check\",\"n\":1,\"t\":0,\"tsc\":0,\"name\":\"x\",\"digest\":", "[", 8000, "");
        repeated("\"event\":\"check\",\"n\":1,\"t\":0,\"tsc\":0,\"x\":", "{\"x\":", 1000, "0");
    } else if (!strcmp(how, "numbers")) {
        raw_frame("\"event\":\"samples\",\"n\":1,\"t\":0,\"tsc\":0,\"benchmark\":\"x\",\"unit\":\"s\",\"loops\":1,"
                  "\"values\":[NaN,Infinity,-1e999]");
        raw_frame("\"event\":\"samples\",\"n\":2,\"t\":-5,\"tsc\":1e300,\"benchmark\":\"x\",\"unit\":\"s\",\"loops\":-1,"
                  "\"values\":[1e18,-3]");
    } else if (!strcmp(how, "order")) {
        uk_exit(0);
        uk_.n = 0;
        uk_main("misbehave");
        uk_main("misbehave");
    }
}

static void for_ever(void)
{
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    uint64_t tsc = uk_tsc();
    if (argc > 1 && !strcmp(argv[1], "silent"))
        for_ever();
    uk_mark();
    uk_main_at("misbehave", tsc);

    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!strncmp(word, "status=", 7))
            return uk_exit(atoi(word + 7));
        if (!strcmp(word, "noexit"))
            return 0;
        if (!strncmp(word, "sleep=", 6))
            sleep((unsigned)atoi(word + 6));
        else if (!strcmp(word, "spin"))
            for (;;)
                __asm__ volatile("");
        else if (!strcmp(word, "mute"))
            for_ever();
        else if (!strcmp(word, "abort"))
            abort();
        else if (!strcmp(word, "segv"))
            raise(SIGSEGV);
        else if (!strcmp(word, "flood=random"))
            flood_random();
        else if (!strcmp(word, "flood=frames"))
            flood_frames();
        else if (!strncmp(word, "lie=", 4))
            lie(word + 4);
    }
    return uk_exit(0);
}
