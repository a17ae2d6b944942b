/* needs "two words" 'quotes" and \': does this kernel give programs what ukperf's need? One `check` frame a need, `yes`
 * or the errno that stood in its way (0: an answer that was not the right one). Asked for by `ukperf images add`, with
 * NEEDS="a=b c" in the environment (ukperf/engine/kernelprobe.py).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/ukperf.h"

static int arguments(int argc, char **argv)
{
    return argc == 3 && !strcmp(argv[1], "two words") && !strcmp(argv[2], "quotes\" and \\");
}

static int environment(void)
{
    const char *value = getenv("NEEDS");
    return value && !strcmp(value, "a=b c");
}

/* What is written to a new file is read back from it. */
static int file(const char *path)
{
    static const char text[] = "written";
    char back[sizeof text] = "";
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (fd < 0)
        return 0;
    int good = write(fd, text, sizeof text) == (ssize_t)sizeof text && lseek(fd, 0, SEEK_SET) == 0 &&
               read(fd, back, sizeof back) == (ssize_t)sizeof back && !memcmp(text, back, sizeof back);
    int number = errno;
    close(fd);
    errno = number;
    return good;
}

static int files(void)
{
    return (mkdir("/tmp", 0777) == 0 || errno == EEXIST) && file("/ukperf-needs") && file("/tmp/ukperf-needs");
}

static int random_bytes(void)
{
    unsigned char bytes[16] = {0}, any = 0;
    int fd = open("/dev/urandom", O_RDONLY);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        any |= bytes[i];
    return got == (ssize_t)sizeof bytes && any;
}

/* However slowly: what a busy host does to a guest's idea of its CPU's speed is no fault of the kernel. */
static int advancing_clock(void)
{
    uint64_t before = uk_clock_ns();
    uk_clock_advance(1);
    return uk_clock_ns() > before;
}

static void report(const char *need, int met)
{
    char number[16];
    snprintf(number, sizeof number, "%d", errno);
    uk_check(need, met ? "yes" : number);
    errno = 0;
}

int main(int argc, char **argv)
{
    uk_main("needs");
    errno = 0;
    report("arguments", arguments(argc, argv));
    report("environment", environment());
    report("clock", advancing_clock());
    report("files", files());
    report("random", random_bytes());
    return uk_exit(0);
}
