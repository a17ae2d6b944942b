/* preload.c: measures a program that knows nothing of ukperf. A shared library that the program's loader brings in
 * (/etc/ld.so.preload of a guest's tree; LD_PRELOAD on the host): `main` before the program's own constructors, `exit`
 * after its last exit handler. docs/wire.md has the frames, docs/images.md how it comes into a tree.
 *
 * It needs no library, allocates nothing, and takes one descriptor from 60 on (Linux makes a larger table for those from
 * 64 on), a copy of the console, so that `exit` comes out whatever the program does to its standard output.
 *
 * One process speaks, the first. Whose the console is, is kept in its open file (F_SETOWN, which without O_ASYNC does
 * nothing else): that outlives execve, and children see it whatever they close. So a program that executes another is
 * one program, from the first `main` to the last `exit`, and what it forks is silent.
 */
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "../common/rawsyscall.h"

enum { CONSOLE_MIN = 60, PATH_BYTES = 512, NAME_BYTES = 128, AGAIN = -11, INTERRUPTED = -4, OUT = 4 /* POLLOUT */ };
enum { ABORTED = 128 + SIGABRT };

#define LIBRARY "/ukperf/preload.so" /* where it is in every tree (imaging/preload.py) */

/* imaging/preload.py writes these into the library's file. Paths are the guest's; empty: nothing to do. */
__attribute__((used)) static const volatile struct {
    char mark[16];
    char name[NAME_BYTES]; /* of the program, for its `main` frame */
    char cwd[PATH_BYTES];
    char input[PATH_BYTES]; /* what it reads from standard input */
} settings = {.mark = "ukperf-settings"};

/* Out of the program's own C library, where that has them. Not its clock: a system call costs less than the page. */
#define WEAK __attribute__((weak))
extern WEAK int on_exit(void (*handler)(int, void *), void *argument);
extern WEAK int __cxa_at_quick_exit(void (*handler)(void *), void *library);
extern WEAK void *dlsym(void *library, const char *name);
extern WEAK int fflush(void *stream);
extern WEAK void *stdout;

static uint64_t clock_ns(void)
{
    struct timespec now;
    long failed = raw2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
    return failed ? 0 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void uk_put(const char *bytes, size_t length);
#define UK_CLOCK_NS() clock_ns()
#include "../common/ukperf.h"

#include "../common/gate.h"

static int console;
static struct stat console_is;
static long speaker;        /* the process whose frames these are; 0: nobody's */
static int on_host;         /* no guest: LD_PRELOAD brought us */
static int quick_status;    /* of quick_exit, whose handlers are not told */
static uint64_t began_t, began_tsc; /* when the `main` frame was out */

/* One write for the whole frame, so that nothing falls into it. A console that refuses is given up on. */
static void uk_put(const char *bytes, size_t length)
{
    while (length > 0) {
        long written = raw3(SYS_write, console, (long)bytes, (long)length);
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        } else if (written == AGAIN) {
            struct {
                int fd;
                short events, seen;
            } ready = {console, OUT, 0};
            raw3(SYS_poll, (long)&ready, 1, -1);
        } else if (written != INTERRUPTED) {
            return;
        }
    }
}

static void copy(char *to, const volatile char *from, size_t limit)
{
    size_t i = 0;
    for (; i + 1 < limit && from[i]; i++)
        to[i] = from[i];
    to[i] = 0;
}

/* Where the guest's / is: on the host the tree that LD_PRELOAD names our library in, else nowhere. */
static size_t root_of(char *to, size_t limit, char **environment)
{
    static const char key[] = "LD_PRELOAD=", library[] = LIBRARY;
    for (; environment && *environment; environment++) {
        const char *value = *environment;
        size_t at = 0, tail = 0;
        while (key[at] && value[at] == key[at])
            at++;
        if (key[at])
            continue;
        copy(to, value + at, limit);
        for (at = 0; to[at] && to[at] != ':'; at++) /* others may come behind ours */
            ;
        for (tail = sizeof library - 1; tail && at && to[at - 1] == library[tail - 1]; tail--, at--)
            ;
        return tail ? 0 : at;
    }
    return 0;
}

/* Is this a machine that is to be saved before the program starts? */
static int gated(char **environment)
{
    static const char key[] = UK_GATE_VARIABLE "=";
    for (; environment && *environment; environment++) {
        size_t at = 0;
        while (key[at] && (*environment)[at] == key[at])
            at++;
        if (!key[at])
            return 1;
    }
    return 0;
}

static void error(const char *what, const char *path, long failed)
{
    char message[UK_MESSAGE_MAX];
    size_t at = 0, limit = sizeof message - 8;
    for (; *what && at < limit; what++)
        message[at++] = *what;
    for (; *path && at < limit; path++)
        message[at++] = *path;
    message[at++] = ':';
    message[at++] = ' ';
    for (long digit = 100; digit; digit /= 10)
        message[at++] = (char)('0' + -failed / digit % 10);
    message[at] = 0;
    uk_error(message);
}

static void prepare(char **environment)
{
    char path[4096 + PATH_BYTES];
    size_t root = root_of(path, 4096, environment);
    on_host = root > 0;
    if (settings.cwd[0] || on_host) { /* guests begin in / */
        copy(path + root, settings.cwd[0] ? settings.cwd : "/", PATH_BYTES);
        long failed = raw1(SYS_chdir, (long)path);
        if (failed)
            error("cannot change the directory to ", path, failed);
    }
    if (settings.input[0]) {
        copy(path + root, settings.input, PATH_BYTES);
        long file = raw2(SYS_open, (long)path, O_RDONLY);
        if (file < 0) {
            error("cannot open ", path, file);
        } else if (file != 0) {
            raw2(SYS_dup2, file, 0);
            raw1(SYS_close, file);
        }
    }
}

/* May the program have closed our descriptor, and have a file of its own there? */
static int still_ours(void)
{
    struct stat now;
    return raw2(SYS_fstat, console, (long)&now) == 0 && now.st_dev == console_is.st_dev &&
           now.st_ino == console_is.st_ino && now.st_rdev == console_is.st_rdev;
}

static void finish(int status)
{
    struct rusage used;
    if (!speaker || raw0(SYS_getpid) != speaker || !still_ours())
        return;
    speaker = 0;
    uk_begin("exit");
    uk_member_number("status", (uint64_t)(status & 255));
    if (began_tsc) {
        uk_member_number("began_t", began_t);
        uk_member_number("began_tsc", began_tsc);
    }
    /* On the host it is the memory of whoever forked, if that had more. */
    if (!on_host && raw2(SYS_getrusage, RUSAGE_SELF, (long)&used) == 0 && used.ru_maxrss > 0)
        uk_member_number("peak_rss", (uint64_t)used.ru_maxrss << 10);
    uk_end();
}

/* The last handler, since it was registered first: the C library would write out stdio's buffers only after it. */
static void on_return(int status, void *unused)
{
    (void)unused;
    if (!speaker || raw0(SYS_getpid) != speaker)
        return;
    if (fflush && &stdout && stdout)
        fflush(stdout);
    finish(status);
}

static void on_quick_exit(void *unused)
{
    (void)unused;
    finish(quick_status);
}

__attribute__((visibility("default"), noreturn)) void _exit(int status)
{
    finish(status);
    for (;;)
        raw1(SYS_exit_group, status);
}

__attribute__((visibility("default"), noreturn)) void _Exit(int status) { _exit(status); }

__attribute__((visibility("default"), noreturn)) void quick_exit(int status)
{
    /* The handler that is registered last comes first, so what the others take is not counted. */
    void (*own)(int) = dlsym ? (void (*)(int))dlsym((void *)-1 /* RTLD_NEXT */, "quick_exit") : NULL;
    quick_status = status;
    if (__cxa_at_quick_exit)
        __cxa_at_quick_exit(on_quick_exit, NULL);
    if (own)
        own(status);
    _exit(status);
}

/* Of a signal Linux and the host tell. In a unikernel nobody may: Unikraft stays as if nothing had happened. */
__attribute__((visibility("default"), noreturn)) void abort(void)
{
    void (*own)(void) = dlsym ? (void (*)(void))dlsym((void *)-1 /* RTLD_NEXT */, "abort") : NULL;
    if (speaker == 1) {
        uk_error("its program called abort()");
        finish(ABORTED);
    }
    if (own)
        own();
    raw2(SYS_kill, raw0(SYS_getpid), SIGABRT);
    for (;;)
        raw1(SYS_exit_group, ABORTED);
}

__attribute__((constructor)) static void begin(int argc, char **argv, char **environment)
{
    uint64_t tsc = uk_tsc();
    (void)argc;
    (void)argv;
    long pid = raw0(SYS_getpid);
    console = CONSOLE_MIN;
    long owner = pid == 1 ? -1 : raw2(SYS_fcntl, console, F_GETOWN); /* unikernels have one process, 1 */
    if (owner < 0) {
        console = 1;
        owner = pid == 1 ? 0 : raw2(SYS_fcntl, console, F_GETOWN);
    }
    if (owner > 0 && owner != pid) /* a child */
        return;
    if (raw2(SYS_fstat, console, (long)&console_is) != 0 || S_ISREG(console_is.st_mode) || S_ISFIFO(console_is.st_mode))
        return; /* a child that closed what it inherited and writes to somebody else */
    if (owner <= 0) {
        if (pid != 1)
            raw3(SYS_fcntl, console, F_SETOWN, pid);
        long copy_of = raw3(SYS_fcntl, console, F_DUPFD, CONSOLE_MIN);
        if (copy_of > 0)
            console = (int)copy_of;
    }
    speaker = pid;
    if (on_exit)
        on_exit(on_return, NULL);
    if (owner == pid) { /* executed by the first program */
        char path[4096];
        on_host = root_of(path, sizeof path, environment) > 0;
        uk_.n = 1;
        return;
    }
    char name[NAME_BYTES];
    copy(name, settings.name, sizeof name);
    uk_mark();
    uk_main_at(name, tsc);
    prepare(environment);
    if (gated(environment))
        uk_gate();
    began_t = clock_ns();
    began_tsc = uk_tsc();
}
