/* floor.c: the least that can be booted. Says `main`, counts if it is asked to, says `exit`, powers off.
 *
 * It is the lower limit of a host (nothing boots faster here) and the probe of the truth check (does this accelerator
 * run plain instructions at native speed?). Words on its command line:
 *     loops=N values=N    time the counting loop (default: none, the lower limit counts nothing)
 *     calls=1 instructions=1   time function calls, in cycles, or in what a tick is under icount
 *     status=N            exit status
 *     gate                wait after `main` until the host has saved the machine, and say so when it goes on
 *     silent hang crash   stop before `main`; after it (also for `density`); or die after it
 */
#include <stddef.h>

#include "../../workloads/common/ukperf.h"
#include "../../workloads/common/callcost.h"
#include "../../workloads/common/count.h"
#include "../../workloads/common/gate.h"
#include "floor.h"
#include "xen.h"

enum { COM1 = 0x3f8, FIFO_CONTROL = COM1 + 2, LINE_STATUS = COM1 + 5, TRANSMITTER_EMPTY = 0x20, FIFO_SIZE = 16 };

static int on_xen;

/* The console. A 16550A takes 16 bytes each time its transmitter is empty, which halves the exits to the VMM. */
static void uk_put(const char *bytes, size_t length)
{
    if (on_xen) {
        xen_write(bytes, length);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        if (i % FIFO_SIZE == 0)
            while (!(inb(LINE_STATUS) & TRANSMITTER_EMPTY))
                ;
        outb(COM1, (uint8_t)bytes[i]);
    }
}

static int has_word(const char *words, const char *word)
{
    while (*words) {
        const char *want = word;
        while (*want && *words == *want)
            words++, want++;
        if (!*want && (!*words || *words == ' '))
            return 1;
        while (*words && *words != ' ')
            words++;
        while (*words == ' ')
            words++;
    }
    return 0;
}

/* What a call of a function costs where there is nothing but functions: the limit for every system call. There is no
 * clock here, so ticks alone; under the names that syscall_cost gives them. */
static void calls(int instructions)
{
    static const struct { const char *plain, *ticks; cc_body *body; } all[] = {
        {"call.inline", "call.inline.ticks", cc_call_inline},
        {"call.direct", "call.direct.ticks", cc_call_direct},
        {"call.indirect", "call.indirect.ticks", cc_call_indirect},
    };
    static struct cc_result result;
    struct cc_plan plan = {.clock = NULL, .min_batch = 100000};
    cc_steps(&plan);
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        uk_phase(all[i].plain);
        cc_measure(&plan, all[i].body, 1 << 20, &result); /* a call cannot fail */
        uint64_t each = result.loops * CC_UNROLL;
        uk_samples_begin(instructions ? all[i].plain : all[i].ticks, instructions ? "instructions" : "cycles", each);
        uk_samples_meta_text("meta_quantiles", "0.5");
        uk_samples_meta_text("meta_group", "call");
        for (unsigned n = 0; n < result.warmups + result.batches; n++) {
            uint64_t ticks = result.ticks[n] > 0 ? (uint64_t)result.ticks[n] : 0;
            if (n < result.warmups)
                uk_samples_warmup_ratio(ticks, each);
            else
                uk_samples_ratio(ticks, each);
        }
        uk_samples_end();
    }
}

static void stop(void)
{
    while (on_xen) /* Xen takes a halt that nothing can end for a power-off */
        __asm__ volatile("pause");
    for (;;)
        __asm__ volatile("cli; hlt");
}

void floor_main(const struct hvm_start_info *info)
{
    uint64_t tsc = uk_tsc(); /* first statement, like any program's; `silent` must be seen before the frame */
    const char *words = info->cmdline_paddr ? (const char *)(uintptr_t)info->cmdline_paddr : "";
    uint64_t loops = uk_option(words, "loops", 0);

    on_xen = xen_start();
    if (has_word(words, "silent"))
        stop();
    if (!on_xen)
        outb(FIFO_CONTROL, 1);
    uk_mark();
    uk_main_at("floor", tsc);
    if (has_word(words, "gate")) {
        uk_gate();
        uk_phase("restored");
    }
    if (has_word(words, "hang"))
        stop();
    if (has_word(words, "crash"))
        triple_fault();
    if (loops > 0)
        uk_count_samples(loops, uk_option(words, "values", UK_COUNT_VALUES));
    if (uk_option(words, "calls", 0))
        calls((int)uk_option(words, "instructions", 0));
    int status = uk_exit((int)uk_option(words, "status", 0));
    if (on_xen)
        xen_power_off();
    power_off(info->rsdp_paddr, status);
    stop();
}
