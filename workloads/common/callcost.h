/* callcost.h: what a very short operation costs, in ticks of the CPU's counter and in nanoseconds of a clock.
 *
 * Header only, freestanding (no libc, no floating point), so that the floor guest measures function calls with the
 * same instructions as the programs. The method (docs/syscalls.md): serialised counter reads around a batch of n
 * calls; n doubled until a batch lasts 100 steps of every clock; an empty loop of the same n and the same shape,
 * measured before, is subtracted; warm-ups are kept apart.
 *
 *     struct cc_plan plan = {.clock = my_ns, .min_batch = 100000};
 *     struct cc_result result;
 *     cc_steps(&plan);
 *     cc_measure(&plan, cc_call_direct, 1 << 20, &result);   // 0, or a negative errno: then nothing was timed
 */
#ifndef UKPERF_CALLCOST_H
#define UKPERF_CALLCOST_H

#include <stdbool.h>
#include <stdint.h>

#define CC_BATCHES 30
#define CC_WARMUPS 3
#define CC_EMPTIES 7
#define CC_STEPS 100 /* a batch lasts at least so many steps of the clock */
#define CC_NOINLINE __attribute__((noinline, noclone))
#define CC_UNUSED __attribute__((unused))

/* ---- the counter ---- */

enum cc_fence { CC_UNKNOWN, CC_LFENCE_RDTSCP, CC_LFENCE, CC_MFENCE };

static inline void cc_cpuid(uint32_t leaf, uint32_t out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

/* Intel's lfence waits for all earlier instructions; AMD's only where a bit says so, else mfence+lfence does. */
static enum cc_fence cc_fence(void)
{
    static enum cc_fence known;
    uint32_t r[4], highest, extended;
    if (known != CC_UNKNOWN)
        return known;
    cc_cpuid(0, r);
    highest = r[0];
    bool amd = r[1] == 0x68747541 || r[1] == 0x6f677948; /* Auth…, Hygo… */
    cc_cpuid(0x80000000, r);
    extended = r[0];
    bool waits = !amd;
    if (amd && extended >= 0x80000021) {
        cc_cpuid(0x80000021, r);
        waits = r[0] & 4;
    }
    bool rdtscp = false;
    if (highest && extended >= 0x80000001) {
        cc_cpuid(0x80000001, r);
        rdtscp = r[3] >> 27 & 1;
    }
    known = !waits ? CC_MFENCE : rdtscp ? CC_LFENCE_RDTSCP : CC_LFENCE;
    return known;
}

static inline uint64_t cc_rdtsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline uint64_t cc_ticks_before(void)
{
    if (cc_fence() == CC_MFENCE)
        __asm__ volatile("mfence" : : : "memory");
    return cc_rdtsc();
}

/* rdtscp waits for what is before it, and the lfence behind it keeps what follows from starting early. */
static inline uint64_t cc_ticks_after(void)
{
    uint32_t low, high;
    if (cc_fence() != CC_LFENCE_RDTSCP)
        return cc_ticks_before();
    __asm__ volatile("rdtscp\n\tlfence" : "=a"(low), "=d"(high) : : "rcx", "memory");
    return (uint64_t)high << 32 | low;
}

/* ---- a batch ---- */

typedef uint64_t cc_clock(void); /* nanoseconds, monotonic */

struct cc_span {
    cc_clock *clock; /* NULL: ticks only */
    uint64_t tick0, ns0;
    uint64_t ticks, ns; /* the result */
};

static inline void cc_start(struct cc_span *span)
{
    span->ns0 = span->clock ? span->clock() : 0;
    span->tick0 = cc_ticks_before();
}

static inline void cc_stop(struct cc_span *span)
{
    uint64_t tick = cc_ticks_after();
    span->ns = span->clock ? span->clock() - span->ns0 : 0;
    span->ticks = tick - span->tick0;
}

/* n operations between cc_start and cc_stop; 0, or the negative errno of one that failed. */
typedef long cc_body(uint64_t n, struct cc_span *span);

/* No instruction at all, but a value that the compiler cannot know. */
static inline __attribute__((always_inline)) long cc_nothing(void)
{
    long value;
    __asm__ volatile("" : "=r"(value));
    return value;
}

/* Every loop has this shape, the empty one too, so that under icount the difference is exact: keep the last negative
 * result, count down. `bad` is read behind the loop even where nobody asks for it. */
#define CC_LOOP(bad, n, expression)                          \
    do {                                                     \
        (bad) = 0;                                           \
        cc_start(span);                                      \
        for (uint64_t cc_i_ = (n); cc_i_; cc_i_--) {         \
            long cc_r_ = (expression);                       \
            __asm__ volatile("" : "+r"(cc_r_));              \
            (bad) = cc_r_ < 0 ? cc_r_ : (bad);               \
        }                                                    \
        cc_stop(span);                                       \
        __asm__ volatile("" : "+r"(bad));                    \
    } while (0)

/* Defines a body whose expression's failures count, and one whose result means nothing. */
#define CC_BODY(name, expression)                                    \
    static CC_NOINLINE CC_UNUSED long name(uint64_t n, struct cc_span *span) \
    {                                                                \
        long bad;                                                    \
        CC_LOOP(bad, n, expression);                                 \
        return bad;                                                  \
    }
#define CC_BODY_UNCHECKED(name, expression)                          \
    static CC_NOINLINE CC_UNUSED long name(uint64_t n, struct cc_span *span) \
    {                                                                \
        long bad;                                                    \
        CC_LOOP(bad, n, expression);                                 \
        return 0;                                                    \
    }

/* ---- the scale: what a function call costs ---- */

/* 0, which the compiler cannot know: GCC 14 looks into it, and puts the constant in the place of what it returns, by one
 * more instruction in each turn of the loop (3 + 1/16 a call). */
static CC_NOINLINE long cc_callee(void)
{
    long zero = 0;
    __asm__ volatile("" : "+r"(zero));
    return zero;
}

static long (*volatile cc_pointer)(void) = cc_callee;

/* A call is so short that an out-of-order CPU hides one in the loop around it: so 16 in a row. One loop of these is
 * CC_UNROLL calls; whoever reports divides by loops * CC_UNROLL. */
#define CC_UNROLL 16
#define CC_TIMES4(call) (call, call, call, call)
#define CC_TIMES16(call) (CC_TIMES4(call), CC_TIMES4(call), CC_TIMES4(call), CC_TIMES4(call))

CC_BODY_UNCHECKED(cc_empty, cc_nothing())
CC_BODY_UNCHECKED(cc_call_inline, CC_TIMES16(cc_nothing()))
CC_BODY(cc_call_direct, CC_TIMES16(cc_callee()))
CC_BODY(cc_call_indirect, CC_TIMES16(cc_pointer()))

/* ---- measuring ---- */

struct cc_plan {
    cc_clock *clock;    /* NULL: none */
    uint64_t min_batch; /* ns (ticks where there is no clock): a batch lasts at least this, and 100 steps */
    uint64_t budget;    /* ns (ticks) for one operation, 0: no limit; past it, fewer batches */
    uint64_t step_ticks, step_ns; /* by cc_steps */
};

struct cc_result {
    long error; /* negative errno: the operation failed, and the rest is void */
    uint64_t loops;
    uint64_t empty_ticks, empty_ns; /* of the empty loop, for all `loops` */
    unsigned warmups, batches;
    bool truncated;                        /* budget spent before CC_BATCHES */
    int64_t ticks[CC_WARMUPS + CC_BATCHES]; /* per batch, empty loop subtracted; warm-ups first */
    int64_t ns[CC_WARMUPS + CC_BATCHES];
};

/* The smallest steps that the two clocks take, as seen by a reader that reads them without pause. */
CC_UNUSED static void cc_steps(struct cc_plan *plan)
{
    uint64_t last = cc_ticks_before();
    plan->step_ticks = plan->step_ns = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = cc_ticks_before();
        if (now > last && (!plan->step_ticks || now - last < plan->step_ticks))
            plan->step_ticks = now - last;
        last = now;
    }
    if (!plan->clock)
        return;
    last = plan->clock();
    for (int i = 0, seen = 0; i < 1000000 && seen < 100; i++) { /* a coarse clock stands still for many reads */
        uint64_t now = plan->clock();
        if (now > last) {
            seen++;
            if (!plan->step_ns || now - last < plan->step_ns)
                plan->step_ns = now - last;
        }
        last = now;
    }
}

static uint64_t cc_length(const struct cc_plan *plan, const struct cc_span *span)
{
    return plan->clock && plan->step_ns ? span->ns : span->ticks;
}

static bool cc_long_enough(const struct cc_plan *plan, const struct cc_span *span)
{
    return span->ticks >= CC_STEPS * plan->step_ticks && span->ns >= CC_STEPS * plan->step_ns &&
           cc_length(plan, span) >= plan->min_batch;
}

/* Smallest n = 1, 2, 4 … whose batch is long enough twice running (a first call is often slow), or the highest that
 * the bounds allow. Returns the time spent. */
static uint64_t cc_calibrate(const struct cc_plan *plan, cc_body *body, uint64_t max_loops, struct cc_result *result)
{
    uint64_t spent = 0;
    bool once = false;
    for (uint64_t n = 1;;) {
        struct cc_span span = {.clock = plan->clock};
        result->loops = n;
        result->error = body(n, &span);
        spent += cc_length(plan, &span);
        bool poor = plan->budget && cc_length(plan, &span) * (CC_BATCHES / 2) > plan->budget;
        bool enough = cc_long_enough(plan, &span);
        if (result->error || poor || (enough && once) || (!enough && n * 2 > max_loops))
            return spent;
        once = enough;
        n = enough ? n : n * 2;
    }
}

static void cc_measure_empty(const struct cc_plan *plan, struct cc_result *result)
{
    for (int i = 0; i < CC_EMPTIES; i++) {
        struct cc_span span = {.clock = plan->clock};
        cc_empty(result->loops, &span);
        if (i == 0 || span.ticks < result->empty_ticks)
            result->empty_ticks = span.ticks;
        if (i == 0 || span.ns < result->empty_ns)
            result->empty_ns = span.ns;
    }
}

/* One operation: calibrate, measure the empty loop, warm up, CC_BATCHES batches. Returns result->error. */
CC_UNUSED static long cc_measure(const struct cc_plan *plan, cc_body *body, uint64_t max_loops,
                                 struct cc_result *result)
{
    result->warmups = result->batches = 0;
    result->truncated = false;
    uint64_t spent = cc_calibrate(plan, body, max_loops, result);
    if (result->error)
        return result->error;
    cc_measure_empty(plan, result);
    for (unsigned i = 0; i < CC_WARMUPS + CC_BATCHES; i++) {
        struct cc_span span = {.clock = plan->clock};
        result->error = body(result->loops, &span);
        if (result->error)
            return result->error;
        result->ticks[i] = (int64_t)(span.ticks - result->empty_ticks);
        result->ns[i] = (int64_t)(span.ns - result->empty_ns);
        *(i < CC_WARMUPS ? &result->warmups : &result->batches) += 1;
        spent += cc_length(plan, &span);
        if (plan->budget && spent > plan->budget && result->batches) {
            result->truncated = result->batches < CC_BATCHES;
            break;
        }
    }
    return 0;
}

#endif
