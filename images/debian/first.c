/* first.c: what the kernel of a distribution starts first: says `init`, and goes on to the distribution's own
 * (images/debian/recipe.toml). */
#include <errno.h>
#include <string.h>

#include "../../workloads/common/ukperf.h"

int main(int argc, char **argv, char **environment)
{
    (void)argc;
    uk_begin("init");
    uk_end();
    argv[0] = "/init";
    execve(argv[0], argv, environment);
    char message[UK_MESSAGE_MAX];
    snprintf(message, sizeof message, "first: cannot run %s: %s", argv[0], strerror(errno));
    uk_error(message);
    return 127;
}
