/* What a probe is, and the things that probes work on.
 *
 * A probe makes a call with arguments that a kernel which has it can satisfy, harmlessly; then looks for proof that the
 * success was none: the output was not written, the effect is not there, or the same call accepts what no kernel can do.
 * The stub tests are listed in docs/syscalls.md.
 */
#ifndef SYSCALLS_PROBE_H
#define SYSCALLS_PROBE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../common/rawsyscall.h"
#include "table.h"

/* After a success: NULL if it was one, else what is not true about it. */
typedef const char *proof_fn(long result);

struct probe {
    bool known;      /* somebody wrote a probe for this number */
    bool alone;      /* ends or replaces the program, or may: only with only=NR, in a boot of its own */
    bool harm;       /* never on a kernel that others live on: only with harm=1 */
    long good[6];
    bool has_bad;
    long bad[6];     /* what no kernel can do: a success here is a stub */
    unsigned out;    /* a success must have changed one of the first so many bytes of A */
    long (*run)(void); /* in place of `good`, where the call needs something made for it */
    proof_fn *proof;
    bool seen;         /* the proof saw the call's effect: then it works, however lax it is with bad arguments */
};

static struct probe probes[SYSCALLS_END];

/* ---- how the tables below are written ---- */

#define L (long)
#define P(name, ...) probes[SC_##name] = (struct probe){.known = true, __VA_ARGS__}
#define G(...) .good = {__VA_ARGS__}
#define X(...) .has_bad = true, .bad = {__VA_ARGS__}
#define OUT(bytes) .out = (bytes)
#define RUN(function) .run = (function)
#define PROOF(function) .proof = (function)
#define SEEN(function) .proof = (function), .seen = true
#define ALONE .alone = true
#define HARM .harm = true
#define CALL(name, ...) call6(SC_##name, (long[6]){__VA_ARGS__})

static long call6(long nr, const long a[6]) { return raw6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); }

/* ---- things to work on ---- */

#define BAD_FD 987654L           /* not open anywhere */
#define BAD_PID 0x3ffffff0L      /* above every pid_max */
#define BAD_ADDRESS (1L << 40)   /* nothing is mapped there */
#define NO_PATH (long)"/ukperf-none/x" /* its folder does not exist */
#define PATTERN 0xa5             /* A before every call */
#define PATH_MAX_ 64

static char A[8192] __attribute__((aligned(4096))); /* output: PATTERN before every call */
static char B[4096] __attribute__((aligned(4096))); /* input: zero before every call */

static struct {
    long file, dir, zero, null, spare; /* descriptors; -1 where the guest would not make them */
    long pipe_r, pipe_w, pair_a, pair_b, epoll, event, timer, inotify, inet;
    char *page; /* four private pages */
    char base[32], path[PATH_MAX_], fresh[PATH_MAX_], other[PATH_MAX_], cwd[256];
    long pid, tid;
} w;

static struct iovec iov_a = {A, 1}, iov_b = {B, 1}, iov_page;
static struct pollfd poll_one;
static struct timespec bad_time = {.tv_nsec = 2000000000}, old_times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
static uint64_t set_usr1 = 1UL << (SIGUSR1 - 1);

static long open_raw(const char *path, long flags) { return CALL(open, L path, flags, 0600); }

static long open_new(const char *path)
{
    long fd = open_raw(path, O_CREAT | O_RDWR | O_TRUNC);
    return fd >= 0 ? fd : CALL(openat, AT_FDCWD, L path, O_CREAT | O_RDWR | O_TRUNC, 0600);
}

static void world_folder(void)
{
    snprintf(w.base, sizeof w.base, "/tmp/ukp%ld", w.pid);
    if (mkdir(w.base, 0700) != 0) {
        snprintf(w.base, sizeof w.base, "/ukp%ld", w.pid);
        mkdir(w.base, 0700);
    }
    snprintf(w.path, sizeof w.path, "%s/file", w.base);
    snprintf(w.fresh, sizeof w.fresh, "%s/fresh", w.base);
    snprintf(w.other, sizeof w.other, "%s/other", w.base);
    if (!getcwd(w.cwd, sizeof w.cwd))
        strcpy(w.cwd, "/");
}

static void world_pipes(void)
{
    int fds[2];
    w.pipe_r = w.pipe_w = w.pair_a = w.pair_b = -1;
    if (pipe(fds) == 0) {
        w.pipe_r = fds[0], w.pipe_w = fds[1];
        CALL(write, w.pipe_w, L B, 64);
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0) {
        w.pair_a = fds[0], w.pair_b = fds[1];
        CALL(write, w.pair_a, L B, 64);
    }
    poll_one = (struct pollfd){.fd = (int)w.pipe_w, .events = POLLOUT};
}

static void world_make(void)
{
    w.pid = getpid();
    w.tid = CALL(gettid, 0);
    world_folder();
    w.file = open_new(w.path);
    w.spare = open_raw(w.path, O_RDONLY);
    w.dir = open_raw(w.base, O_RDONLY | O_DIRECTORY);
    w.zero = open_raw("/dev/zero", O_RDONLY);
    w.null = open_raw("/dev/null", O_WRONLY);
    CALL(write, w.file, L B, 100);
    world_pipes();
    w.epoll = CALL(epoll_create1, 0);
    w.event = CALL(eventfd2, 0, 04000);
    w.timer = CALL(timerfd_create, CLOCK_MONOTONIC, 04000);
    w.inotify = CALL(inotify_init1, 04000);
    w.inet = CALL(socket, AF_INET, SOCK_DGRAM, 0);
    w.page = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    iov_page = (struct iovec){w.page, 4096};
}

static void world_end(void)
{
    unlink(w.path);
    unlink(w.fresh);
    unlink(w.other);
    rmdir(w.base);
}

/* ---- waiting for an effect ---- */

static uint64_t now_ms(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits for what must come: at most 3 s by the guest's clock and never for ever, since a clock may stand still. */
static bool soon(bool (*has_come)(void))
{
    static const struct timespec pause_ = {.tv_nsec = 10000000};
    uint64_t end = now_ms() + 3000;
    bool has = has_come(); /* asked no more once it has: what has come may be taken by that */
    for (int i = 0; i < 600 && !has && now_ms() < end; i++) {
        CALL(nanosleep, L &pause_, 0);
        has = has_come();
    }
    return has;
}

/* ---- proofs that several probes share ---- */

static const char *proof_fd(long fd)
{
    long closed = CALL(close, fd);
    return closed == 0 || closed == -ENOSYS ? NULL : "the descriptor it returned cannot be closed";
}

static const char *proof_one(long result) { return result == 1 ? NULL : "one byte was asked for, and another count came"; }
static const char *proof_positive(long result) { return result > 0 ? NULL : "a number that is not positive"; }

static const char *proof_pipe(long result)
{
    const int *fds = (const int *)A;
    char byte = 7, back = 0;
    (void)result;
    if (fds[0] == fds[1])
        return "both ends are the same descriptor";
    bool through = CALL(write, fds[1], L &byte, 1) == 1 && CALL(read, fds[0], L &back, 1) == 1 && back == 7;
    CALL(close, fds[0]);
    CALL(close, fds[1]);
    return through ? NULL : "a byte does not come out at the other end";
}

static bool exists(const char *path)
{
    struct stat found;
    long result = CALL(stat, L path, L &found);
    return result == 0 || result == -ENOSYS;
}

/* The call made w.fresh; it goes again. */
static const char *proof_fresh(long result)
{
    (void)result;
    bool there = exists(w.fresh);
    CALL(unlink, L w.fresh);
    CALL(rmdir, L w.fresh);
    return there ? NULL : "what it made is not there";
}

static const char *proof_fresh_fd(long fd)
{
    CALL(close, fd);
    return proof_fresh(0);
}

/* Makes w.fresh for a call that removes or moves it; a guest that cannot make files gets asked nevertheless. */
static void make_fresh(void)
{
    long fd = open_new(w.fresh);
    if (fd >= 0)
        CALL(close, fd);
}

static const char *proof_gone(long result)
{
    struct stat found;
    (void)result;
    bool still = CALL(stat, L w.fresh, L &found) == 0;
    CALL(unlink, L w.fresh);
    CALL(rmdir, L w.fresh);
    return still ? "what it removed is still there" : NULL;
}

static const char *proof_moved(long result)
{
    (void)result;
    bool there = exists(w.other);
    const char *gone = proof_gone(0);
    CALL(unlink, L w.other);
    return there ? gone : "the new name is not there";
}

#endif
