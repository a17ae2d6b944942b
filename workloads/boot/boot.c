/* boot [clock=N]: says that main was reached, checks the clock for N ms, and goes. What every guest's boot time is
 * measured with; the time between `main` and `clock checked` is in no phase of a boot (docs/methods.md).
 */
#include "../common/count.h" /* uk_option */

int main(int argc, char **argv)
{
    uk_main("boot");
    uint64_t ms = argc > 1 ? uk_option(argv[1], "clock", 0) : 0;
    if (ms > 0) {
        uk_phase(UK_CLOCK_STARTED);
        uk_clock_advance(ms);
        uk_phase(UK_CLOCK_CHECKED);
    }
    return uk_exit(0);
}
