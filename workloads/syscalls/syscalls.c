/* syscalls: which system calls does this guest have? docs/syscalls.md has the method and the stub tests.
 *
 * Arguments, all optional, NAME=VALUE:
 *   from=NR    begin at this number (a call before it ended or hung the guest)
 *   only=NR    this call and no other; the only way to probe those that may end the program
 *   list=1     write one `call` frame for each, probe nothing
 *   self=PATH  this program in the guest, for execve
 *   harm=1     the kernel is ours alone: reboot for real
 *   execd=NR   set by the probe of execve itself: we are the program that it started
 *
 * Before each call a `probe` frame goes out, after it a `syscall` frame; who reads a `probe` without a `syscall` knows
 * which call ended the guest.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdlib.h>

#include "../common/ukperf.h"

#include "alone.h"
#include "probes_file.h"
#include "probes_ipc.h"
#include "probes_memory.h"
#include "probes_process.h"
#include "probes_signals.h"
#include "probes_system.h"

#define EXECD_FIRST_FRAME 1000

static const char *const names[SYSCALLS_END] = {
#define NAME(number, name) [number] = #name,
    SYSCALLS(NAME)
#undef NAME
};

static struct {
    long from, only, execd;
    bool list, harm;
} options = {.only = -1, .execd = -1};

static void fill(void)
{
    fill_file_io();
    fill_file_names();
    fill_file_xattr();
    fill_memory();
    fill_shared();
    fill_sockets();
    fill_events();
    fill_timers();
    fill_aio();
    fill_signals();
    fill_alarms();
    fill_identity();
    fill_scheduling();
    fill_others();
    fill_relics();
    fill_system();
    fill_mounts();
    fill_alone(options.harm);
}

/* class: works, error, enosys or stub; `proof` says what a stub's success got wrong. */
static void report(long nr, const char *class, long result, const char *proof)
{
    uk_begin("syscall");
    uk_member_number("nr", (uint64_t)nr);
    uk_member_text("name", names[nr], UK_TEXT_MAX);
    uk_member_text("class", class, UK_TEXT_MAX);
    uk_member_number("errno", result < 0 && result >= -4095 ? (uint64_t)-result : 0);
    if (proof)
        uk_member_text("proof", proof, UK_TEXT_MAX);
    uk_end();
}

static bool written(unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        if ((unsigned char)A[i] != PATTERN)
            return true;
    return bytes == 0;
}

/* What is not true about a success; NULL: it was one. */
static const char *disprove(long nr, const struct probe *probe, long result)
{
    if (result < -4095 && nr != SC_times && nr != SC_mmap && nr != SC_shmat && nr != SC_brk)
        return "neither a result nor an error number";
    if (!written(probe->out))
        return "success, and nothing was written where the answer belongs";
    const char *proof = probe->proof ? probe->proof(result) : NULL;
    if (proof || probe->seen || !probe->has_bad)
        return proof;
    memset(B, 0, sizeof B);
    long accepted = call6(nr, probe->bad);
    return accepted >= 0 ? "accepts what no kernel can do: a handle, name, number or flag that cannot be" : NULL;
}

static void probe_one(long nr)
{
    const struct probe *probe = &probes[nr];
    memset(A, PATTERN, sizeof A);
    memset(B, 0, sizeof B);
    errno = 0;
    long result = probe->run ? probe->run() : call6(nr, probe->good);
    if (result == -ENOSYS)
        report(nr, "enosys", result, NULL);
    else if (result < 0 && result >= -4095)
        report(nr, "error", result, NULL);
    else {
        const char *proof = disprove(nr, probe, result);
        report(nr, proof ? "stub" : "works", 0, proof);
    }
}

static void parse(const char *argument)
{
    const char *value = strchr(argument, '=');
    if (!value++)
        return; /* guests add words of their own */
#define IS(name) (strncmp(argument, name "=", sizeof name) == 0)
    if (IS("from"))
        options.from = strtol(value, NULL, 10);
    else if (IS("only"))
        options.only = strtol(value, NULL, 10);
    else if (IS("execd"))
        options.execd = strtol(value, NULL, 10);
    else if (IS("list"))
        options.list = *value == '1';
    else if (IS("harm"))
        options.harm = *value == '1';
    else if (IS("self"))
        self_path = value;
#undef IS
}

static void list_one(long nr)
{
    uk_begin("call");
    uk_member_number("nr", (uint64_t)nr);
    uk_member_text("name", names[nr], UK_TEXT_MAX);
    uk_member_text("how", !probes[nr].known ? "none" : probes[nr].alone ? "alone" : "together", UK_TEXT_MAX);
    uk_end();
}

static bool wanted(long nr)
{
    if (!names[nr])
        return false;
    if (options.list)
        return true;
    if (options.only >= 0)
        return nr == options.only && (!probes[nr].harm || options.harm);
    return nr >= options.from && !probes[nr].alone;
}

int main(int argc, char **argv)
{
    self_path = argc > 0 ? argv[0] : "/syscalls";
    for (int i = 1; i < argc; i++)
        parse(argv[i]);
    if (options.execd >= 0 && options.execd < SYSCALLS_END && names[options.execd]) {
        uk_.n = EXECD_FIRST_FRAME; /* one boot, one `main` frame, and numbers that only rise */
        report(options.execd, "works", 0, NULL);
        return uk_exit(0);
    }
    uk_main("syscalls");
    world_make();
    fill();
    for (long nr = 0; nr < SYSCALLS_END; nr++) {
        if (!wanted(nr))
            continue;
        if (options.list) {
            list_one(nr);
            continue;
        }
        uk_begin("probe"); /* before the call: if it is the last thing that we say, the host knows why */
        uk_member_number("nr", (uint64_t)nr);
        uk_end();
        if (probes[nr].known)
            probe_one(nr);
        else
            report(nr, "unprobed", 0, NULL);
    }
    world_end();
    return uk_exit(0);
}
