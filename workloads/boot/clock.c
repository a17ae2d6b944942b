/* clock [ms=N]: lets its own CLOCK_MONOTONIC advance by N ms four times and says so each time. The host compares the
 * frames' times with its own: a guest whose clock runs fast or slow would falsify everything that it measures itself.
 */
#include "../common/count.h" /* uk_option */

#define STEPS 4
#define DEFAULT_MS 30

int main(int argc, char **argv)
{
    uk_main("clock");
    uint64_t step = DEFAULT_MS * 1000000u;
    for (int i = 1; i < argc; i++)
        step = uk_option(argv[i], "ms", DEFAULT_MS) * 1000000u;
    for (int i = 0; i < STEPS; i++) {
        uint64_t start = uk_clock_ns(), ticks = uk_tsc();
        /* No CPU's counter makes six ticks a nanosecond: a clock that lags as much behind it may as well stand still. */
        while (uk_clock_ns() - start < step && uk_tsc() - ticks < 6 * step)
            ;
        uk_phase("tick");
    }
    return uk_exit(0);
}
