/* What the operations work on: descriptors, a page, a file. Made once; a descriptor that cannot be had is the negative
 * errno instead, which the operations that want it report. */
#ifndef SYSCALL_COST_WORLD_H
#define SYSCALL_COST_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    int zero, null, file;
    int pipe[2], pair[2];
    char path[64]; /* of the regular file */
    char *page;    /* one private page, read and written */
} world = {.zero = -1, .null = -1, .file = -1, .pipe = {-1, -1}, .pair = {-1, -1}};

static int world_fd(int fd) { return fd >= 0 ? fd : -errno; }

/* The regular file lies in /tmp where there is one, else in the root: unikernels have nothing but what we put there. */
static void world_make(void)
{
    static const char *const folders[] = {"/tmp", ""};
    world.zero = world_fd(open("/dev/zero", O_RDONLY));
    world.null = world_fd(open("/dev/null", O_WRONLY));
    for (unsigned i = 0; i < 2 && world.file < 0; i++) {
        snprintf(world.path, sizeof world.path, "%s/ukperf-cost.%d", folders[i], (int)getpid());
        world.file = world_fd(open(world.path, O_CREAT | O_RDWR | O_TRUNC, 0600));
    }
    if (world.file >= 0 && write(world.file, "x", 1) != 1)
        world.file = -EIO;
    if (pipe(world.pipe) != 0)
        world.pipe[0] = world.pipe[1] = -errno;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, world.pair) != 0)
        world.pair[0] = world.pair[1] = -errno;
    world.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (world.page == MAP_FAILED)
        world.page = NULL;
}

static void world_end(void)
{
    if (world.file >= 0)
        unlink(world.path);
}

#endif
