/* syscall_cost: what a system call costs here. docs/syscalls.md has the method.
 *
 * Arguments, all optional, NAME=VALUE:
 *   list=1            write one `operation` frame for each operation, measure nothing
 *   only=GLOB,GLOB    measure these operations
 *   skip=GLOB,GLOB    leave these out (they hung or crashed this guest before)
 *   probe=vsyscall    the operations by __kernel_vsyscall, and nothing but the scale beside them
 *   check=1           try each operation once, time nothing: `supported` or `unsupported` frames
 *   figures=0         time all, but write no figures: for scouts, since a console may need milliseconds for a byte
 *   units=s,cycles    what to report; `instructions` under icount, where a tick is an instruction
 *   min_batch_us=N    a batch lasts at least this (default 100)
 *   budget_ms=N       for one operation (default 3000); past it, fewer batches
 *   cpu=N             run on this CPU only
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fnmatch.h>
#include <stdlib.h>

#include "../common/ukperf.h"

#include "ops.h"
#include "vsyscall.h"

#define LOOPS (1u << 20)
#define CLOCK_CHECK_MS 50

struct operation {
    const char *name, *group, *what;
    cc_body *body;
    uint64_t max_loops;
    unsigned unroll; /* calls in one loop */
    bool sleeps; /* the CPU may be idle meanwhile: under icount the counter then runs on */
};

static const struct operation operations[] = {
    {"call.inline", "call", "inlined no-op", cc_call_inline, LOOPS, CC_UNROLL, false},
    {"call.direct", "call", "direct call of an empty function", cc_call_direct, LOOPS, CC_UNROLL, false},
    {"call.indirect", "call", "the same by a pointer", cc_call_indirect, LOOPS, CC_UNROLL, false},
    {"noop.raw", "entry", "unused number, answered with ENOSYS", noop_raw, LOOPS, 1, false},
    {"noop.libc", "entry", "unused number, answered with ENOSYS", noop_libc, LOOPS, 1, false},
    {"getppid.raw", "entry", "getppid", getppid_raw, LOOPS, 1, false},
    {"getppid.libc", "entry", "getppid", getppid_libc, LOOPS, 1, false},
    {"getuid.raw", "entry", "getuid", getuid_raw, LOOPS, 1, false},
    {"getuid.libc", "entry", "getuid", getuid_libc, LOOPS, 1, false},
    {"clock_gettime.raw", "time", "CLOCK_MONOTONIC by the kernel", clock_gettime_raw, LOOPS, 1, false},
    {"clock_gettime.vdso", "time", "CLOCK_MONOTONIC by libc (vDSO where there is one)", clock_gettime_vdso, LOOPS, 1, false},
    {"nanosleep0.raw", "time", "nanosleep of 0 ns", nanosleep0_raw, 1024, 1, true},
    {"nanosleep0.libc", "time", "nanosleep of 0 ns", nanosleep0_libc, 1024, 1, true},
    {"read1.raw", "file", "read 1 B from /dev/zero", read_raw, LOOPS, 1, false},
    {"read1.libc", "file", "read 1 B from /dev/zero", read_libc, LOOPS, 1, false},
    {"pread1.raw", "file", "pread 1 B of a regular file", pread_raw, LOOPS, 1, false},
    {"pread1.libc", "file", "pread 1 B of a regular file", pread_libc, LOOPS, 1, false},
    {"write1.raw", "file", "write 1 B to /dev/null", write_raw, LOOPS, 1, false},
    {"write1.libc", "file", "write 1 B to /dev/null", write_libc, LOOPS, 1, false},
    {"open_close.raw", "file", "open and close a regular file", open_close_raw, LOOPS, 1, false},
    {"open_close.libc", "file", "open and close a regular file", open_close_libc, LOOPS, 1, false},
    {"fstat.raw", "file", "fstat of a regular file", fstat_raw, LOOPS, 1, false},
    {"fstat.libc", "file", "fstat of a regular file", fstat_libc, LOOPS, 1, false},
    {"lseek.raw", "file", "lseek to 0 in a regular file", lseek_raw, LOOPS, 1, false},
    {"lseek.libc", "file", "lseek to 0 in a regular file", lseek_libc, LOOPS, 1, false},
    {"getrandom16.raw", "file", "getrandom of 16 B", getrandom_raw, LOOPS, 1, false},
    {"getrandom16.libc", "file", "getrandom of 16 B", getrandom_libc, LOOPS, 1, false},
    {"mmap_4k.raw", "memory", "mmap and munmap of 4 KiB", mmap_4k_raw, LOOPS, 1, false},
    {"mmap_4k.libc", "memory", "mmap and munmap of 4 KiB", mmap_4k_libc, LOOPS, 1, false},
    {"mmap_2m.raw", "memory", "mmap and munmap of 2 MiB", mmap_2m_raw, LOOPS, 1, false},
    {"mmap_2m.libc", "memory", "mmap and munmap of 2 MiB", mmap_2m_libc, LOOPS, 1, false},
    {"page_touch", "memory", "first write to a page (page fault)", page_touch, 2048, 1, false},
    {"madvise.raw", "memory", "madvise(MADV_DONTNEED) of an untouched page", madvise_raw, LOOPS, 1, false},
    {"madvise.libc", "memory", "madvise(MADV_DONTNEED) of an untouched page", madvise_libc, LOOPS, 1, false},
    {"sched_yield.raw", "thread", "sched_yield with nobody else", sched_yield_raw, LOOPS, 1, false},
    {"sched_yield.libc", "thread", "sched_yield with nobody else", sched_yield_libc, LOOPS, 1, false},
    {"futex_wake.raw", "thread", "futex wake with nobody waiting", futex_wake_raw, LOOPS, 1, false},
    {"pipe.raw", "ipc", "1 B through a pipe, one thread", pipe_raw, LOOPS, 1, false},
    {"pipe.libc", "ipc", "1 B through a pipe, one thread", pipe_libc, LOOPS, 1, false},
    {"socketpair.raw", "ipc", "1 B through a socketpair, one thread", socketpair_raw, LOOPS, 1, false},
    {"socketpair.libc", "ipc", "1 B through a socketpair, one thread", socketpair_libc, LOOPS, 1, false},
    {"thread_create_join", "thread", "pthread_create and pthread_join", thread_create_join, 1024, 1, true},
    {"futex_ping_pong", "thread", "two threads wake each other, one round", futex_ping_pong, 16384, 1, true},
};

static const struct operation vsyscall_operations[] = {
    {"call.direct", "call", "direct call of an empty function", cc_call_direct, LOOPS, CC_UNROLL, false},
    {"noop.raw", "entry", "unused number, answered with ENOSYS", noop_raw, LOOPS, 1, false},
    {"noop.vsyscall", "entry", "unused number by __kernel_vsyscall", vsyscall_noop, LOOPS, 1, false},
    {"getppid.vsyscall", "entry", "getppid by __kernel_vsyscall", vsyscall_getppid, LOOPS, 1, false},
    {"getuid.vsyscall", "entry", "getuid by __kernel_vsyscall", vsyscall_getuid, LOOPS, 1, false},
    {"read1.vsyscall", "file", "read 1 B from /dev/zero by __kernel_vsyscall", vsyscall_read, LOOPS, 1, false},
    {"write1.vsyscall", "file", "write 1 B to /dev/null by __kernel_vsyscall", vsyscall_write, LOOPS, 1, false},
};

static struct {
    const char *only, *skip, *units;
    bool list, check, vsyscall, figures;
    struct cc_plan plan;
} options = {.only = "*", .skip = "", .units = "s,cycles", .figures = true, .plan = {.clock = uk_clock_ns}};

/* Is name matched by one of the globs that commas part? */
static bool matches(const char *globs, const char *name)
{
    char glob[64];
    while (*globs) {
        size_t length = strcspn(globs, ",");
        if (length < sizeof glob) {
            memcpy(glob, globs, length);
            glob[length] = 0;
            if (fnmatch(glob, name, 0) == 0)
                return true;
        }
        globs += length + (globs[length] == ',');
    }
    return false;
}

static void run_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        uk_error("cpu=: this guest does not pin");
}

static void parse(const char *argument)
{
    size_t length = strcspn(argument, "=");
    if (argument[length] != '=')
        return; /* guests add words of their own */
    const char *value = argument + length + 1;
#define IS(name) (length == sizeof name - 1 && memcmp(argument, name, length) == 0)
    if (IS("only"))
        options.only = value;
    else if (IS("skip"))
        options.skip = value;
    else if (IS("units"))
        options.units = value;
    else if (IS("list"))
        options.list = *value == '1';
    else if (IS("check"))
        options.check = *value == '1';
    else if (IS("figures"))
        options.figures = *value == '1';
    else if (IS("probe"))
        options.vsyscall = strcmp(value, "vsyscall") == 0;
    else if (IS("min_batch_us"))
        options.plan.min_batch = strtoull(value, NULL, 10) * 1000;
    else if (IS("budget_ms"))
        options.plan.budget = strtoull(value, NULL, 10) * 1000000;
    else if (IS("cpu"))
        run_on(atoi(value));
#undef IS
}

static void describe(const char *event, const struct operation *operation, long error)
{
    uk_begin(event);
    uk_member_text("benchmark", operation->name, UK_TEXT_MAX);
    uk_member_text("group", operation->group, UK_TEXT_MAX);
    uk_member_text("what", operation->what, UK_TEXT_MAX);
    if (error)
        uk_member_number("errno", (uint64_t)-error);
    uk_end();
}

static int by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Seven digits are more than the clocks have in a batch, and a third of a double's bytes: on Xen a serial port takes a
 * millisecond for each. */
static const char *seven_digits(double value)
{
    static char text[40];
    snprintf(text, sizeof text, "%.7g", value);
    return text;
}

/* A double as a member; ukperf.h has only whole numbers. */
static void meta_double(const char *name, double value)
{
    uk_key(name);
    uk_text(seven_digits(value));
}

static void meta(const struct operation *operation, const struct cc_result *result, const int64_t *totals, uint64_t empty,
                 double scale)
{
    static bool steps_said;
    int64_t sorted[CC_BATCHES];
    double sum = 0;
    unsigned n = result->batches;
    memcpy(sorted, totals + result->warmups, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    for (unsigned i = 0; i < n; i++)
        sum += (double)sorted[i];
    uk_samples_meta_text("meta_quantiles", "0.5"); /* a boot's number is its median: an interrupt falls on few batches */
    if (result->truncated)
        uk_samples_meta_number("meta_truncated", 1);
    if (operation->sleeps)
        uk_samples_meta_number("meta_sleeps", 1);
    if (!steps_said) { /* in a boot's first frame: they are the same in all */
        uk_samples_meta_number("meta_step_ns", options.plan.step_ns);
        uk_samples_meta_number("meta_step_ticks", options.plan.step_ticks);
        steps_said = true;
    }
    meta_double("meta_overhead", (double)empty * scale);
    meta_double("meta_min", (double)sorted[0] * scale);
    meta_double("meta_median", ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2 * scale);
    meta_double("meta_mean", sum / n * scale);
}

/* One samples frame: totals of batches, each times `factor` (1 tick, or 1e-9 s for a ns) and divided by the calls in it. */
static void report(const struct operation *operation, const char *name, const char *unit, const struct cc_result *result,
                   const int64_t *totals, uint64_t empty, double factor)
{
    uint64_t calls = result->loops * operation->unroll;
    double scale = factor / (double)calls;
    uk_samples_begin(name, unit, calls);
    meta(operation, result, totals, empty, scale);
    for (unsigned i = 0; i < result->warmups + result->batches; i++) {
        double each = totals[i] > 0 ? (double)totals[i] * scale : 0; /* no longer than the empty loop: nothing */
        uk_samples_item(i < result->warmups ? UK_WARMUPS : UK_VALUES, seven_digits(each));
    }
    uk_samples_end();
}

static void measure(const struct operation *operation)
{
    static struct cc_result result;
    char name[64];
    if (cc_measure(&options.plan, operation->body, operation->max_loops, &result) < 0) {
        describe("unsupported", operation, result.error);
        return;
    }
    if (!options.figures) {
        uk_begin("supported");
        uk_member_text("benchmark", operation->name, UK_TEXT_MAX);
        uk_end();
        return;
    }
    bool seconds = matches(options.units, "s") && options.plan.step_ns;
    if (seconds)
        report(operation, operation->name, "s", &result, result.ns, result.empty_ns, 1e-9);
    /* One name has one unit: ticks go beside seconds under a name of their own. */
    snprintf(name, sizeof name, seconds ? "%s.ticks" : "%s", operation->name);
    for (const char *const *unit = (const char *const[]){"cycles", "instructions", NULL}; *unit; unit++)
        if (matches(options.units, *unit))
            report(operation, name, *unit, &result, result.ticks, result.empty_ticks, 1);
}

static void check(const struct operation *operation)
{
    struct cc_span span = {0};
    long error = operation->body(1, &span);
    describe(error < 0 ? "unsupported" : "supported", operation, error);
}

int main(int argc, char **argv)
{
    uk_main("syscall_cost");
    uint64_t begun = uk_clock_ns();
    options.plan.min_batch = 100000;
    options.plan.budget = 3000000000;
    for (int i = 1; i < argc; i++)
        parse(argv[i]);
    const struct operation *list = options.vsyscall ? vsyscall_operations : operations;
    size_t count = options.vsyscall ? sizeof vsyscall_operations / sizeof *list : sizeof operations / sizeof *list;
    if (!matches(options.units, "s"))
        options.plan.clock = NULL; /* nobody wants it, and under icount some guests' clocks stand all but still */
    world_make();
    cc_steps(&options.plan);
    for (size_t i = 0; i < count; i++) {
        if (!matches(options.only, list[i].name) || matches(options.skip, list[i].name))
            continue;
        if (options.list) {
            describe("operation", &list[i], 0);
            continue;
        }
        uk_phase(list[i].name); /* before each: whoever hangs has said its name */
        if (options.check)
            check(&list[i]);
        else
            measure(&list[i]);
    }
    world_end();
    if (options.plan.clock && !options.list && !options.check) { /* long enough to check our clock by (docs/methods.md) */
        uint64_t passed = (uk_clock_ns() - begun) / 1000000u;
        uk_clock_advance(passed < CLOCK_CHECK_MS ? CLOCK_CHECK_MS - passed : 0);
    }
    return uk_exit(0);
}
