/* density [gate]: says that main was reached, and stays: what many guests are in at the same time (docs/serving.md).
 * gate: waits there until it has been saved; whoever is restored says so, and stays.
 */
#include <string.h>

#include "../common/ukperf.h"
#include "../common/gate.h"

int main(int argc, char **argv)
{
    uk_main("density");
    if (argc > 1 && !strcmp(argv[1], "gate")) {
        uk_gate();
        uk_phase("restored");
    }
    for (;;)
        __asm__ volatile("pause");
}
