/* Drives workloads/profile/flow.c as plugin.c does, with events from standard input: a letter and numbers each.
 *
 *     x N              N instructions are executed
 *     c SITE SP        a call; r SITE SP: a return; s SITE NUMBER: a system call
 *     l SITE           a jump to a shared return; i BEHIND: an interrupt; q: its end
 *     b BEHIND         the program goes on; w SITE BEHIND WINDOW: an event of the program
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "flow.h"

int main(int argc, char **argv)
{
    char kind;
    uint64_t a, b, c;
    if (argc < 2 || flow_open(argv[1], argc > 2 && strcmp(argv[2], "stacks") == 0) != 0)
        return 1;
    while (scanf(" %c %" SCNu64 " %" SCNu64 " %" SCNu64, &kind, &a, &b, &c) == 4) {
        if (kind == 'x')
            *flow_total() += a;
        else if (kind == 'c')
            flow_call(a, b);
        else if (kind == 'r')
            flow_return(a, b);
        else if (kind == 's')
            flow_syscall(a, (uint32_t)b);
        else if (kind == 'b')
            flow_back(a);
        else if (kind == 'l')
            flow_leave(a);
        else if (kind == 'i')
            flow_interrupt(a);
        else if (kind == 'q')
            flow_interrupted();
        else if (kind == 'w')
            flow_window(a, b, (uint32_t)c);
    }
    return 0;
}
