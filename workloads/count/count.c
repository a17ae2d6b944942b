/* count [loops=N] [values=N]: times the counting loop of count.h; what the truth check compares floor's figure with. */
#include "../common/count.h"

int main(int argc, char **argv)
{
    uk_main("count");
    uint64_t loops = 1000000, values = UK_COUNT_VALUES;
    for (int i = 1; i < argc; i++) {
        loops = uk_option(argv[i], "loops", loops);
        values = uk_option(argv[i], "values", values);
    }
    if (loops > 0)
        uk_count_samples(loops, values);
    return uk_exit(0);
}
