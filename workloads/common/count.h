/* count.h: a loop whose number of instructions is known exactly. The truth check runs it on the host (count.c) and in
 * the floor guest: an accelerator that executes guest code natively takes the same time for it.
 */
#ifndef UKPERF_COUNT_H
#define UKPERF_COUNT_H

#include <stdint.h>

#include "ukperf.h"

#define UK_COUNT_PER_LOOP 2 /* sub, jnz */
#define UK_COUNT_WARMUPS 1
#define UK_COUNT_VALUES 5

/* In assembly, so that no compiler unrolls it; aligned, so that it lies in one cache line wherever it is linked. */
static inline void uk_count(uint64_t loops)
{
    __asm__ volatile(".p2align 6\n"
                     "1:\tsub $1, %0\n\t"
                     "jnz 1b"
                     : "+r"(loops)
                     :
                     : "cc");
}

/* Times the loop and emits it as benchmark `count`, in TSC cycles for one turn (two instructions). */
static void uk_count_samples(uint64_t loops, uint64_t values)
{
    uk_samples_begin("count", "cycles", loops);
    uk_samples_meta_number("meta_instructions_per_loop", UK_COUNT_PER_LOOP);
    for (uint64_t i = 0; i < UK_COUNT_WARMUPS + values; i++) {
        uint64_t start = uk_tsc();
        uk_count(loops);
        uint64_t cycles = uk_tsc() - start;
        if (i < UK_COUNT_WARMUPS)
            uk_samples_warmup_ratio(cycles, loops);
        else
            uk_samples_ratio(cycles, loops);
    }
    uk_samples_end();
}

/* The number after `name=` in a command line of words, or `otherwise`; saturates well below overflow. */
static uint64_t uk_option(const char *words, const char *name, uint64_t otherwise)
{
    for (const char *word = words; *word;) {
        const char *at = word, *want = name;
        while (*want && *at == *want)
            at++, want++;
        if (!*want && *at == '=' && at[1] >= '0' && at[1] <= '9') {
            uint64_t value = 0;
            for (at++; *at >= '0' && *at <= '9' && value < 1000000000000000u; at++)
                value = value * 10 + (uint64_t)(*at - '0');
            return value;
        }
        while (*word && *word != ' ')
            word++;
        while (*word == ' ')
            word++;
    }
    return otherwise;
}

#endif
