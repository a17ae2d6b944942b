/* boot: says that main was reached, and goes. What every guest's boot time is measured with. */
#include "../common/ukperf.h"

int main(void)
{
    uk_main("boot");
    return uk_exit(0);
}
