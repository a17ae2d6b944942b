/* clock [ms=N]: lets its own CLOCK_MONOTONIC advance by N ms four times and says so each time. The host compares the
 * frames' times with its own: a guest whose clock runs fast or slow would falsify everything that it measures itself.
 */
#include "../common/count.h" /* uk_option */

#define STEPS 4
#define DEFAULT_MS 30 /* each */

int main(int argc, char **argv)
{
    uk_main("clock");
    uint64_t step = DEFAULT_MS;
    for (int i = 1; i < argc; i++)
        step = uk_option(argv[i], "ms", DEFAULT_MS);
    for (int i = 0; i < STEPS; i++) {
        uk_clock_advance(step);
        uk_phase("tick");
    }
    return uk_exit(0);
}
