/* enter.c: `enter ROOT PROGRAM [ARG…]` makes ROOT the root folder and executes the program there.
 *
 * strace traces it until then: it makes no more calls by itself than these three, and those that start any program.
 */
#include <unistd.h>

enum { CANNOT_ENTER = 126, CANNOT_RUN = 127 };

int main(int argc, char **argv)
{
    if (argc < 3 || chroot(argv[1]) != 0 || chdir("/") != 0)
        return CANNOT_ENTER;
    execv(argv[2], argv + 2);
    return CANNOT_RUN;
}
