/* What the operations work on: descriptors, a page, a file. Made once; what cannot be made stays -1, and the operations
 * that want it then fail with EBADF or whatever the guest says, which is reported. */
#ifndef SYSCALL_COST_WORLD_H
#define SYSCALL_COST_WORLD_H

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

/* The regular file lies in /tmp where there is one, else in the root: unikernels have nothing but what we put there. */
static void world_make(void)
{
    static const char *const folders[] = {"/tmp", ""};
    world.zero = open("/dev/zero", O_RDONLY);
    world.null = open("/dev/null", O_WRONLY);
    for (unsigned i = 0; i < 2 && world.file < 0; i++) {
        snprintf(world.path, sizeof world.path, "%s/ukperf-cost.%d", folders[i], (int)getpid());
        world.file = open(world.path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    }
    if (pipe(world.pipe) != 0)
        world.pipe[0] = world.pipe[1] = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, world.pair) != 0)
        world.pair[0] = world.pair[1] = -1;
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
