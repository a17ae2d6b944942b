/* unit.c: the two commands of the unit that runs the program in a distribution (ukperf.service).
 *
 *     unit start    enters the program's file system and becomes the program, as /run/ukperf.conf says; one entry a
 *                   line, everything after the first space belonging to it:
 *                       root UUID        the ext4 file system that the program is in
 *                       arg TEXT         the next word of the program's command line; the first is the program
 *                       env NAME=VALUE   its environment
 *     unit end      says how the program ended, which systemd tells it in EXIT_CODE and EXIT_STATUS
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "../../workloads/common/ukperf.h"

enum { ENTRIES_MAX = 256, CONF_MAX = 65536, ROOT_WAIT_MS = 10000, CANNOT_RUN = 127 };

#define CONF "/run/ukperf.conf"
#define ROOT "/run/ukperf"

static char conf[CONF_MAX];
static char *arguments[ENTRIES_MAX + 1], *environment[ENTRIES_MAX + 1];

static _Noreturn void fail(const char *what, const char *which)
{
    char message[UK_MESSAGE_MAX];
    snprintf(message, sizeof message, "unit: %s %s: %s", what, which, strerror(errno));
    uk_error(message);
    _exit(CANNOT_RUN);
}

static void mount_kernel(const char *type, const char *at)
{
    if (mount(type, at, type, 0, NULL) != 0)
        fail("cannot mount", type);
}

/* The unit has a mount name space of its own: nothing of this is seen outside. */
static void enter(const char *uuid)
{
    char device[UK_TEXT_MAX];
    snprintf(device, sizeof device, "/dev/disk/by-uuid/%s", uuid);
    for (int waited = 0; access(device, F_OK) != 0; waited++) {
        if (waited == ROOT_WAIT_MS)
            fail("no disk", device);
        usleep(1000);
    }
    mkdir(ROOT, 0755);
    if (mount(device, ROOT, "ext4", MS_NOATIME, NULL) != 0)
        fail("cannot mount", device);
    if (chdir(ROOT) != 0)
        fail("cannot enter", ROOT);
    static const char *const kernel[][2] = {
        {"proc", "proc"}, {"sysfs", "sys"}, {"devtmpfs", "dev"}, {"tmpfs", "tmp"}};
    for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++) {
        mkdir(kernel[i][1], 0755);
        mount_kernel(kernel[i][0], kernel[i][1]);
    }
    if (chroot(".") != 0 || chdir("/") != 0)
        fail("cannot enter", device);
}

static void start(void)
{
    size_t length = 0, argc = 0, envc = 0;
    const char *root = NULL;
    ssize_t got = 0;
    int file = open(CONF, O_RDONLY | O_CLOEXEC);
    while (file >= 0 && length < CONF_MAX - 1 && (got = read(file, conf + length, CONF_MAX - 1 - length)) > 0)
        length += (size_t)got;
    if (file < 0 || got < 0)
        fail("cannot read", CONF);
    close(file);
    for (char *line = conf, *next; *line; line = next) {
        char *end = strchrnul(line, '\n');
        next = *end ? end + 1 : end;
        *end = 0;
        char *value = strchr(line, ' ');
        errno = EINVAL;
        if (!value)
            fail("a line without a value in " CONF ":", line);
        *value++ = 0;
        if (!strcmp(line, "root"))
            root = value;
        else if (!strcmp(line, "arg") && argc < ENTRIES_MAX)
            arguments[argc++] = value;
        else if (!strcmp(line, "env") && envc < ENTRIES_MAX)
            environment[envc++] = value;
        else
            fail("a line that is not understood in " CONF ":", line);
    }
    errno = EINVAL;
    if (argc == 0 || root == NULL)
        fail("no program or no root in", CONF);
    enter(root);
    execve(arguments[0], arguments, environment);
    fail("cannot run", arguments[0]);
}

/* systemd.exec(5): `exited` and a number, `killed` or `dumped` and a signal's name without its SIG. */
static void end(void)
{
    const char *code = getenv("EXIT_CODE"), *how = getenv("EXIT_STATUS");
    int status = CANNOT_RUN, number = 0;
    if (code && how && !strcmp(code, "exited"))
        status = atoi(how);
    else if (code && how)
        for (int i = 1; i < NSIG; i++) {
            const char *name = sigabbrev_np(i);
            if (name && !strcmp(name, how))
                number = i, status = 128 + i;
        }
    uk_begin("status");
    uk_member_number("status", (uint64_t)status);
    uk_member_number("signal", (uint64_t)number);
    uk_end();
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "start"))
        start();
    else if (argc == 2 && !strcmp(argv[1], "end"))
        end();
    else {
        fprintf(stderr, "unit: start or end\n");
        return 2;
    }
    return 0;
}
