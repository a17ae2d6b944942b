/* boot [clock=N]: says that main was reached, checks the clock for N ms, and goes. What every guest's boot time is
 * measured with; the time between `main` and `clock checked` is in no phase of a boot (docs/methods.md).
 */
#include "../common/count.h" /* uk_option */

#define SPANS 5
#define LEAST_SPAN_MS 10 /* a shorter one is checked as a whole: under icount nothing is late */

int main(int argc, char **argv)
{
    uk_main("boot");
    uint64_t ms = argc > 1 ? uk_option(argv[1], "clock", 0) : 0;
    if (ms > 0) {
        uint64_t spans = ms < SPANS * LEAST_SPAN_MS ? 1 : SPANS;
        uk_phase(UK_CLOCK_STARTED);
        for (uint64_t i = 1; i <= spans; i++) {
            uk_clock_advance(ms / spans);
            uk_phase(i < spans ? UK_CLOCK_RUNNING : UK_CLOCK_CHECKED);
        }
    }
    return uk_exit(0);
}
