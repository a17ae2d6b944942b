/* The operations: each a body of callcost.h. `raw` is the syscall instruction, `libc` the C library's function, `vdso`
 * the C library's function where it enters no kernel. Two calls that belong together (open and close) are one operation. */
#ifndef SYSCALL_COST_OPS_H
#define SYSCALL_COST_OPS_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>

#include "../common/callcost.h"
#include "../common/rawsyscall.h"
#include "world.h"

/* Reserved in the x86-64 table ("don't use numbers 387 through 423"): no kernel may ever have it. */
#define UNUSED_NR 400
#define MIB2 (2L << 20)

/* glibc expects no error of some calls (getppid, getuid): their functions return the kernel's answer as it is, and errno
 * is that of some earlier call. All others return -1 and set it. */
#define LIBC(name, expression)                                       \
    static CC_NOINLINE long name(uint64_t n, struct cc_span *span)   \
    {                                                                \
        long bad;                                                    \
        errno = 0;                                                   \
        CC_LOOP(bad, n, expression);                                 \
        return bad == -1 && errno ? -errno : bad;                    \
    }

/* An operation that wants a descriptor, and reports why there is none. */
#define WANTS(name, fd)                                              \
    static long name(uint64_t n, struct cc_span *span)               \
    {                                                                \
        return (fd) < 0 ? (fd) : name##_loop(n, span);               \
    }

/* ---- entry and exit ---- */

CC_BODY_UNCHECKED(noop_raw_loop, raw0(UNUSED_NR))
CC_BODY_UNCHECKED(noop_libc_loop, syscall(UNUSED_NR))

/* Anything but ENOSYS means that the guest takes the number for something else: then it is not a no-op. */
static long noop_raw(uint64_t n, struct cc_span *span)
{
    return raw0(UNUSED_NR) == -ENOSYS ? noop_raw_loop(n, span) : -EPROTO;
}

static long noop_libc(uint64_t n, struct cc_span *span)
{
    return syscall(UNUSED_NR) == -1 && errno == ENOSYS ? noop_libc_loop(n, span) : -EPROTO;
}

CC_BODY(getppid_raw, raw0(SYS_getppid))
LIBC(getppid_libc, getppid())
CC_BODY(getuid_raw, raw0(SYS_getuid))
LIBC(getuid_libc_loop, (long)getuid())

/* Its type has no sign, so that a failure looks like a user's number. */
static long getuid_libc(uint64_t n, struct cc_span *span)
{
    return getuid() == (uid_t)-ENOSYS ? -ENOSYS : getuid_libc_loop(n, span);
}

/* ---- time ---- */

static struct timespec now_;
static const struct timespec zero_;

CC_BODY(clock_gettime_raw, raw2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now_))
LIBC(clock_gettime_vdso, clock_gettime(CLOCK_MONOTONIC, &now_))
CC_BODY(nanosleep0_raw, raw2(SYS_nanosleep, (long)&zero_, 0))
LIBC(nanosleep0_libc, nanosleep(&zero_, NULL))

/* ---- files ---- */

static char bytes_[16];
static struct stat stat_;

static inline __attribute__((always_inline)) long open_close_raw_once(void)
{
    long fd = raw4(SYS_openat, AT_FDCWD, (long)world.path, O_RDONLY, 0);
    return fd < 0 ? fd : raw1(SYS_close, fd);
}

static inline __attribute__((always_inline)) long open_close_libc_once(void)
{
    int fd = open(world.path, O_RDONLY);
    return fd < 0 ? fd : close(fd);
}

CC_BODY(read_raw_loop, raw3(SYS_read, world.zero, (long)bytes_, 1))
LIBC(read_libc_loop, read(world.zero, bytes_, 1))
CC_BODY(pread_raw_loop, raw4(SYS_pread64, world.file, (long)bytes_, 1, 0))
LIBC(pread_libc_loop, pread(world.file, bytes_, 1, 0))
CC_BODY(write_raw_loop, raw3(SYS_write, world.null, (long)bytes_, 1))
LIBC(write_libc_loop, write(world.null, bytes_, 1))
CC_BODY(open_close_raw_loop, open_close_raw_once())
LIBC(open_close_libc_loop, open_close_libc_once())
CC_BODY(fstat_raw_loop, raw2(SYS_fstat, world.file, (long)&stat_))
LIBC(fstat_libc_loop, fstat(world.file, &stat_))
CC_BODY(lseek_raw_loop, raw3(SYS_lseek, world.file, 0, SEEK_SET))
LIBC(lseek_libc_loop, lseek(world.file, 0, SEEK_SET))

WANTS(read_raw, world.zero)
WANTS(read_libc, world.zero)
WANTS(pread_raw, world.file)
WANTS(pread_libc, world.file)
WANTS(write_raw, world.null)
WANTS(write_libc, world.null)
WANTS(open_close_raw, world.file)
WANTS(open_close_libc, world.file)
WANTS(fstat_raw, world.file)
WANTS(fstat_libc, world.file)
WANTS(lseek_raw, world.file)
WANTS(lseek_libc, world.file)

CC_BODY(getrandom_raw, raw3(SYS_getrandom, (long)bytes_, sizeof bytes_, 0))
LIBC(getrandom_libc, getrandom(bytes_, sizeof bytes_, 0))

/* ---- memory ---- */

static inline __attribute__((always_inline)) long map_raw_once(long size)
{
    long at = raw6(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at < 0 ? at : raw2(SYS_munmap, at, size);
}

static inline __attribute__((always_inline)) long map_libc_once(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? -1 : munmap(at, size);
}

CC_BODY(mmap_4k_raw, map_raw_once(4096))
LIBC(mmap_4k_libc, map_libc_once(4096))
CC_BODY(mmap_2m_raw, map_raw_once(MIB2))
LIBC(mmap_2m_libc, map_libc_once(MIB2))
CC_BODY(madvise_raw, raw3(SYS_madvise, (long)world.page, 4096, MADV_DONTNEED))
LIBC(madvise_libc, madvise(world.page, 4096, MADV_DONTNEED))

static inline __attribute__((always_inline)) long touch(char **at)
{
    *(volatile char *)*at = 1;
    *at += 4096;
    return 0;
}

/* One write into each of n pages never touched before; mapping and unmapping them is outside of the span. */
static CC_NOINLINE long page_touch(uint64_t n, struct cc_span *span)
{
    size_t size = n * 4096;
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    madvise(base, size, MADV_NOHUGEPAGE); /* a huge page would serve 512 touches with one fault; no matter if refused */
    char *at = base;
    long bad;
    CC_LOOP(bad, n, touch(&at));
    munmap(base, size);
    return bad;
}

/* ---- threads and waiting ---- */

CC_BODY(sched_yield_raw, raw0(SYS_sched_yield))
LIBC(sched_yield_libc, sched_yield())

static int nobody_;
CC_BODY(futex_wake_raw, raw6(SYS_futex, (long)&nobody_, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0))

static void *thread_nothing(void *argument) { return argument; }

static long thread_once(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, thread_nothing, NULL);
    if (!error)
        error = pthread_join(thread, NULL);
    return -error;
}

CC_BODY(thread_create_join, thread_once())

enum { BALL_MAIN, BALL_OTHER, BALL_STOP };
static int ball_;

static long ball_wait(int while_it_is)
{
    static const struct timespec patience = {.tv_sec = 2}; /* a guest that loses a wake-up must not hang us */
    long result = 0;
    while (__atomic_load_n(&ball_, __ATOMIC_ACQUIRE) == while_it_is) {
        result = raw6(SYS_futex, (long)&ball_, FUTEX_WAIT_PRIVATE, while_it_is, (long)&patience, 0, 0);
        if (result < 0 && result != -EAGAIN && result != -EINTR)
            return result;
    }
    return 0;
}

static long ball_pass(int to)
{
    __atomic_store_n(&ball_, to, __ATOMIC_RELEASE);
    return raw6(SYS_futex, (long)&ball_, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
}

static void *ball_partner(void *argument)
{
    while (ball_wait(BALL_MAIN) == 0 && __atomic_load_n(&ball_, __ATOMIC_ACQUIRE) == BALL_OTHER)
        ball_pass(BALL_MAIN);
    return argument;
}

static long ball_round(void)
{
    long bad = ball_pass(BALL_OTHER);
    return bad < 0 ? bad : ball_wait(BALL_OTHER);
}

/* One round: wake the other thread, sleep until it has woken us. Its creation is outside of the span. */
static CC_NOINLINE long futex_ping_pong(uint64_t n, struct cc_span *span)
{
    pthread_t partner;
    ball_ = BALL_MAIN;
    int error = pthread_create(&partner, NULL, ball_partner, NULL);
    if (error)
        return -error;
    long bad = ball_round(); /* now it runs for certain */
    if (!bad)
        CC_LOOP(bad, n, ball_round());
    ball_pass(BALL_STOP);
    error = pthread_join(partner, NULL);
    return bad < 0 ? bad : -error;
}

/* ---- pipes and sockets ---- */

#define ROUND_TRIP(write_call, read_call)                    \
    __extension__({                                          \
        long sent_ = (write_call);                           \
        sent_ < 0 ? sent_ : (long)(read_call);               \
    })

CC_BODY(pipe_raw_loop,
        ROUND_TRIP(raw3(SYS_write, world.pipe[1], (long)bytes_, 1), raw3(SYS_read, world.pipe[0], (long)bytes_, 1)))
LIBC(pipe_libc_loop, ROUND_TRIP(write(world.pipe[1], bytes_, 1), read(world.pipe[0], bytes_, 1)))
CC_BODY(socketpair_raw_loop,
        ROUND_TRIP(raw3(SYS_write, world.pair[1], (long)bytes_, 1), raw3(SYS_read, world.pair[0], (long)bytes_, 1)))
LIBC(socketpair_libc_loop, ROUND_TRIP(write(world.pair[1], bytes_, 1), read(world.pair[0], bytes_, 1)))

WANTS(pipe_raw, world.pipe[0])
WANTS(pipe_libc, world.pipe[0])
WANTS(socketpair_raw, world.pair[0])
WANTS(socketpair_libc, world.pair[0])

#endif
