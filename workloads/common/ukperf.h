/* ukperf.h: how a guest program speaks. The frames are described in docs/wire.md.
 *
 * Header only, no allocation, no stdio except for doubles; include it in ONE translation unit of a program (the
 * sequence number and the frame under construction live here). Not for use by two threads at once.
 *
 * Hosted (default): glibc, writes to standard output. Freestanding (-ffreestanding): the including file defines
 *     static void uk_put(const char *bytes, size_t length);
 * and may define UK_CLOCK_NS() as an expression for nanoseconds, else `t` is 0. No floating point is used there.
 *
 *     int main(void)
 *     {
 *         uk_main("demo");                            // first statement: reads the TSC before all else
 *         uk_samples_begin("getppid", "cycles", 1000); // benchmark, unit, loops
 *         uk_samples_warmup_ratio(cycles, 1000);      // warm-ups first, if any
 *         uk_samples_ratio(cycles, 1000);             // one value = cycles / 1000, as often as wanted
 *         uk_samples_end();                           // what is too long for one frame is split over several
 *         uk_check("answer", "3f2a");
 *         return uk_exit(0);
 *     }
 */
#ifndef UKPERF_H
#define UKPERF_H

#include <stddef.h>
#include <stdint.h>

#include "marker.h"

#if __STDC_HOSTED__
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#endif

#define UK_FRAME_MAX 16384 /* docs/wire.md: the JSON object, from { to } */
#define UK_TEXT_MAX 128    /* names and digests */
#define UK_MESSAGE_MAX 500
#define UK_TAIL 192 /* room kept in a samples frame for the last number and ],"t":…,"tsc":…,"crc":"…"} */
#define UK_UNUSED __attribute__((unused))

/* Reads the counter after all earlier instructions have finished; under icount: instructions since reset. */
static inline __attribute__((always_inline)) uint64_t uk_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* The same for a frame: the marker behind it tells `ukperf profile` where one window ends and the next begins. */
static inline __attribute__((always_inline)) uint64_t uk_frame_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\t" UK_MARKER : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* For a frame whose counter was read before it was known that there will be a frame. */
static inline __attribute__((always_inline)) void uk_mark(void) { __asm__ volatile(UK_MARKER : : : "memory"); }

#if __STDC_HOSTED__
static inline uint64_t uk_clock_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One write(2) for the whole; the rest of a partial write follows. A console that refuses is given up on. */
static void uk_put(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, length);
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};
            poll(&ready, 1, -1);
        } else if (written == 0 || errno != EINTR) {
            return;
        }
    }
}
#else
static void uk_put(const char *bytes, size_t length);
#ifndef UK_CLOCK_NS
#define UK_CLOCK_NS() 0
#endif
static inline uint64_t uk_clock_ns(void) { return UK_CLOCK_NS(); }
#endif

/* ---- bytes ---- */

enum uk_list { UK_NO_LIST, UK_WARMUPS, UK_VALUES };

static struct {
    unsigned long n;               /* sequence number of the next frame */
    size_t length;                 /* bytes in buffer */
    char buffer[UK_FRAME_MAX + 2]; /* RS, object, LF */
    const char *benchmark;         /* of the samples under way */
    const char *unit;
    uint64_t loops;
    enum uk_list list; /* the list that is open */
    unsigned items;    /* numbers in it */
    unsigned refused;  /* values that the wire cannot carry */
} uk_;

/* CRC-32 (IEEE 802.3) four bits at a time: a 64-byte table, and twice as fast as bit by bit. */
static uint32_t uk_crc32(const char *bytes, size_t length)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned char)bytes[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

static inline void uk_char(char c)
{
    if (uk_.length < sizeof uk_.buffer)
        uk_.buffer[uk_.length++] = c;
}

static void uk_text(const char *text)
{
    while (*text)
        uk_char(*text++);
}

static void uk_decimal(uint64_t value)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        uk_char(digits[--count]);
}

/* A JSON string of at most `limit` characters. The wire is ASCII: whatever else there is becomes '?'. */
static void uk_string(const char *text, size_t limit)
{
    uk_char('"');
    for (size_t i = 0; i < limit && text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            uk_char('\\');
        uk_char(c < 0x20 || c > 0x7e ? '?' : (char)c);
    }
    uk_char('"');
}

/* ---- frames: uk_begin, members, uk_end ---- */

static void uk_key(const char *name)
{
    uk_char(',');
    uk_string(name, UK_TEXT_MAX);
    uk_char(':');
}

static void uk_member_text(const char *name, const char *value, size_t limit)
{
    uk_key(name);
    uk_string(value, limit);
}

static void uk_member_number(const char *name, uint64_t value)
{
    uk_key(name);
    uk_decimal(value);
}

static void uk_begin(const char *event)
{
    uk_.length = 0;
    uk_text("\x1e{\"event\":");
    uk_string(event, UK_TEXT_MAX);
    uk_member_number("n", uk_.n++);
}

static void uk_end_at(uint64_t t, uint64_t tsc)
{
    uk_member_number("t", t);
    uk_member_number("tsc", tsc);
    uk_char(',');
    uint32_t crc = uk_crc32(uk_.buffer + 1, uk_.length - 1);
    uk_text("\"crc\":\"");
    for (int shift = 28; shift >= 0; shift -= 4)
        uk_char("0123456789abcdef"[crc >> shift & 15]);
    uk_text("\"}\n");
    uk_put(uk_.buffer, uk_.length);
}

/* The clocks are read here, not in uk_begin: the host compares them with the time at which the frame arrives. */
static void uk_end(void)
{
    uint64_t t = uk_clock_ns();
    uk_end_at(t, uk_frame_tsc());
}

/* ---- events ---- */

UK_UNUSED static void uk_main_at(const char *program, uint64_t tsc)
{
    uint64_t t = uk_clock_ns();
    uk_begin("main");
    uk_member_text("program", program, UK_TEXT_MAX);
    uk_member_number("v", 1);
    uk_end_at(t, tsc);
}

/* First statement of main: a macro, so that the counter is read before anything else happens. */
#define uk_main(program)                        \
    do {                                        \
        uint64_t uk_main_tsc_ = uk_frame_tsc(); \
        uk_main_at((program), uk_main_tsc_);    \
    } while (0)

UK_UNUSED static void uk_phase(const char *name)
{
    uk_begin("phase");
    uk_member_text("name", name, UK_TEXT_MAX);
    uk_end();
}

#if __STDC_HOSTED__
/* The frames of a clock check. Not from `main` on: the first frame of all is slow, its code is cold. Of one length, so
 * that all are equally late where the console is slow. */
#define UK_CLOCK_STARTED "clock started"
#define UK_CLOCK_RUNNING "clock running" /* between them, so that there are several spans; all of one length */
#define UK_CLOCK_CHECKED "clock checked"

/* Comes back when CLOCK_MONOTONIC has advanced by `ms`; the CPU stays busy, since idle guests' clocks may leap. No CPU's
 * counter makes six ticks a nanosecond: a clock that lags as much behind it may as well stand still. */
UK_UNUSED static void uk_clock_advance(uint64_t ms)
{
    uint64_t start = uk_clock_ns(), ticks = uk_tsc(), span = ms * 1000000u;
    while (uk_clock_ns() - start < span && uk_tsc() - ticks < 6 * span)
        ;
}
#endif

UK_UNUSED static void uk_check(const char *name, const char *digest)
{
    uk_begin("check");
    uk_member_text("name", name, UK_TEXT_MAX);
    uk_member_text("digest", digest, UK_TEXT_MAX);
    uk_end();
}

UK_UNUSED static void uk_error(const char *message)
{
    uk_begin("error");
    uk_member_text("message", message, UK_MESSAGE_MAX);
    uk_end();
}

/* Last thing: `return uk_exit(status);`. Returns the status, 0…255. */
UK_UNUSED static int uk_exit(int status)
{
    uk_begin("exit");
    uk_member_number("status", (uint64_t)(status & 255));
    uk_end();
    return status & 255;
}

/* ---- samples ---- */

static void uk_samples_open(void)
{
    uk_begin("samples");
    uk_member_text("benchmark", uk_.benchmark, UK_TEXT_MAX);
    uk_member_text("unit", uk_.unit, UK_TEXT_MAX);
    uk_member_number("loops", uk_.loops);
    uk_.list = UK_NO_LIST;
    uk_.items = 0;
}

static void uk_samples_list(enum uk_list list)
{
    if (uk_.list == list)
        return;
    if (uk_.list != UK_NO_LIST)
        uk_char(']');
    uk_key(list == UK_WARMUPS ? "warmups" : "values");
    uk_char('[');
    uk_.list = list;
    uk_.items = 0;
}

static void uk_samples_close(void)
{
    uk_samples_list(UK_VALUES); /* `values` is always there, if empty */
    uk_char(']');
    uk_end();
}

/* One number into a list; a frame that is full goes out first, and another of the same benchmark begins. */
static void uk_samples_item(enum uk_list list, const char *number)
{
    if (list == UK_WARMUPS && uk_.list == UK_VALUES) {
        uk_.refused++; /* a warm-up after values is none, and the host must not take it for a value */
        return;
    }
    if (uk_.length + UK_TAIL > UK_FRAME_MAX) {
        uk_samples_close();
        uk_samples_open();
    }
    uk_samples_list(list);
    if (uk_.items++)
        uk_char(',');
    uk_text(number);
}

/* unit: `s`, `instructions`, `cycles`, `bytes`, `count` or `1/s`. Both texts must live until uk_samples_end, and no
 * other frame may be written before it: there is one frame under construction. */
UK_UNUSED static void uk_samples_begin(const char *benchmark, const char *unit, uint64_t loops)
{
    uk_.benchmark = benchmark;
    uk_.unit = unit;
    uk_.loops = loops;
    uk_.refused = 0;
    uk_samples_open();
}

/* A fact about the benchmark; its name begins with "meta_". Before the first warm-up or value. */
UK_UNUSED static void uk_samples_meta_number(const char *name, uint64_t value)
{
    if (uk_.list == UK_NO_LIST && uk_.length < UK_FRAME_MAX / 2)
        uk_member_number(name, value);
}

UK_UNUSED static void uk_samples_meta_text(const char *name, const char *value)
{
    if (uk_.list == UK_NO_LIST && uk_.length < UK_FRAME_MAX / 2)
        uk_member_text(name, value, UK_TEXT_MAX);
}

/* numerator / denominator with up to nine decimals, rounded down; in integers, for guests without floating point. */
static void uk_ratio_text(char out[40], uint64_t numerator, uint64_t denominator)
{
    char digits[20];
    int count = 0, length = 0;
    uint64_t whole = denominator ? numerator / denominator : 0;
    uint64_t rest = denominator ? numerator % denominator : 0;
    do {
        digits[count++] = (char)('0' + whole % 10);
        whole /= 10;
    } while (whole);
    while (count)
        out[length++] = digits[--count];
    if (rest)
        out[length++] = '.';
    for (int i = 0; i < 9 && rest; i++) {
        __extension__ unsigned __int128 wide = (unsigned __int128)rest * 10;
        char digit = '0';
        for (; wide >= denominator; digit++) /* no 128-bit division: that would want libgcc */
            wide -= denominator;
        out[length++] = digit;
        rest = (uint64_t)wide;
    }
    out[length] = 0;
}

/* One value, the cost of one loop: total / loops. */
UK_UNUSED static void uk_samples_ratio(uint64_t total, uint64_t loops)
{
    char number[40];
    uk_ratio_text(number, total, loops);
    uk_samples_item(UK_VALUES, number);
}

UK_UNUSED static void uk_samples_warmup_ratio(uint64_t total, uint64_t loops)
{
    char number[40];
    uk_ratio_text(number, total, loops);
    uk_samples_item(UK_WARMUPS, number);
}

#if __STDC_HOSTED__
/* A double with all its digits. What JSON or the wire cannot carry is left out, and uk_samples_end says so. */
static void uk_samples_double(enum uk_list list, double value)
{
    char number[40];
    if (!(value >= -1e18 && value <= 1e18)) {
        uk_.refused++;
        return;
    }
    snprintf(number, sizeof number, "%.17g", value);
    uk_samples_item(list, number);
}

UK_UNUSED static void uk_samples_value(double value) { uk_samples_double(UK_VALUES, value); }
UK_UNUSED static void uk_samples_warmup(double value) { uk_samples_double(UK_WARMUPS, value); }
#endif

UK_UNUSED static void uk_samples_end(void)
{
    uk_samples_close();
    if (uk_.refused)
        uk_error("values were left out: not finite, beyond 1e18, or warm-ups after values");
}

#endif
