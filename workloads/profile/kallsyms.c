/* kallsyms: where a Linux guest's kernel has its code. Prints the functions of /proc/kallsyms, the kernel's and its
 * modules', a line each, "ADDRESS TYPE NAME [MODULE]"; an address in hex is that much above the line before, so that the
 * console has half as much to carry. A `check` frame tells the CRC-32 of the lines: the console has kernel messages too.
 *
 * The kernel shows addresses to root only, and where kptr_restrict is 2 to nobody: it is set to 1 first.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "../common/ukperf.h"

#define OUT 65536
#define LINE 640

static char out[OUT];
static size_t used;
static uint32_t crc = 0xffffffff;

static void flush(void)
{
    for (size_t i = 0; i < used; i++) {
        crc ^= (unsigned char)out[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320 & -(crc & 1));
    }
    uk_put(out, used);
    used = 0;
}

static void show(void)
{
    int file = open("/proc/sys/kernel/kptr_restrict", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        if (write(file, "1", 1) != 1)
            uk_check("kptr_restrict", "kept");
        close(file);
    }
}

int main(void)
{
    uk_main("kallsyms");
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL); /* in a guest with a disk it is there */
    show();
    FILE *list = fopen("/proc/kallsyms", "re");
    if (!list) {
        uk_check("kallsyms", "none");
        return uk_exit(0);
    }
    char line[LINE];
    unsigned long long before = 0;
    while (fgets(line, sizeof line, list)) {
        char *rest = NULL;
        unsigned long long address = strtoull(line, &rest, 16);
        if (!rest || rest[0] != ' ' || !strchr("tTwW", rest[1]) || rest[2] != ' ')
            continue;
        rest[strcspn(rest, "\n")] = 0;
        for (char *tab = strchr(rest, '\t'); tab; tab = NULL)
            *tab = ' ';
        if (used + LINE + 32 > OUT)
            flush();
        used += (size_t)snprintf(out + used, OUT - used, "%llx%s\n", address - before, rest);
        before = address;
    }
    fclose(list);
    flush();
    char digest[9];
    snprintf(digest, sizeof digest, "%08x", ~crc);
    uk_check("kallsyms", digest);
    return uk_exit(0);
}
