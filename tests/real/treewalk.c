/* treewalk DIR: prints its arguments, a variable, and what is below DIR, one line each: kind, size, a hash of the
 * contents (FNV-1a, 64 bits) or the target of a link, and the path in hexadecimal (names may hold anything). For the
 * tests of the image writers: the guest's kernel is the judge. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void hexadecimal(const char *text)
{
    for (; *text; text++)
        printf("%02x", (unsigned char)*text);
}

static int hash(const char *path, uint64_t *out)
{
    static unsigned char block[1 << 16];
    uint64_t h = 0xcbf29ce484222325;
    int fd = open(path, O_RDONLY);
    ssize_t n;
    if (fd < 0)
        return -1;
    while ((n = read(fd, block, sizeof block)) > 0)
        for (ssize_t i = 0; i < n; i++)
            h = (h ^ block[i]) * 0x100000001b3;
    close(fd);
    *out = h;
    return n < 0 ? -1 : 0;
}

static void walk(const char *path, size_t skip)
{
    DIR *folder = opendir(path);
    struct dirent *item;
    if (!folder) {
        printf("unreadable ");
        hexadecimal(path + skip);
        printf("\n");
        return;
    }
    while ((item = readdir(folder))) {
        char full[8192], target[4096];
        struct stat status;
        uint64_t h;
        ssize_t length;
        if (!strcmp(item->d_name, ".") || !strcmp(item->d_name, ".."))
            continue;
        snprintf(full, sizeof full, "%s/%s", path, item->d_name);
        memset(&status, 0, sizeof status);
        length = readlink(full, target, sizeof target - 1); /* before lstat, which follows links in Unikraft 0.16 */
        if (length >= 0) {
            target[length] = 0;
            printf("link 0 ");
            hexadecimal(target);
            printf(" ");
        } else if (lstat(full, &status))
            printf("lost 0 0 ");
        else if (S_ISDIR(status.st_mode))
            printf("directory 0 0 ");
        else if (hash(full, &h))
            printf("unreadable 0 0 ");
        else
            printf("file %lld %016llx ", (long long)status.st_size, (unsigned long long)h);
        hexadecimal(full + skip);
        printf("\n");
        if (S_ISDIR(status.st_mode))
            walk(full, skip);
    }
    closedir(folder);
}

int main(int count, char **words)
{
    const char *top = count > 1 ? words[1] : "/tree";
    for (int i = 0; i < count; i++) {
        printf("argument ");
        hexadecimal(words[i]);
        printf("\n");
    }
    printf("variable ");
    hexadecimal(getenv("UKPERF_TEST") ? getenv("UKPERF_TEST") : "");
    printf("\n");
    walk(top, strlen(top) + 1);
    printf("end of the walk\n");
    fflush(stdout);
    return 0;
}
