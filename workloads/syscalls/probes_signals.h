/* Probes of signals: what sets handlers, what sends signals now or later, and what waits for them.
 *
 * Such a call works only if the signal was seen to arrive: that a kernel keeps what it was told is no proof.
 */
#ifndef SYSCALLS_PROBES_SIGNALS_H
#define SYSCALLS_PROBES_SIGNALS_H

#include <sys/signalfd.h>

#include "probe.h"

/* ---- a signal that must arrive ---- */

static volatile int handled; /* number of the signal that came last */
static volatile uintptr_t handled_at; /* where its handler's stack was */
static int awaited;

static void on_signal(int number)
{
    handled_at = (uintptr_t)__builtin_frame_address(0);
    handled = number;
}

static bool signal_came(void) { return handled == awaited; }

static bool handle_with(int number, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    handled = 0;
    return sigaction(number, &action, NULL) == 0;
}

static bool handle(int number) { return handle_with(number, 0); }
static bool comes(int number) { return awaited = number, soon(signal_came); }

/* By whichever call sends it. */
static long send_self(int number)
{
    long result = CALL(tgkill, w.pid, w.tid, number);
    if (result < 0)
        result = CALL(tkill, w.tid, number);
    return result < 0 ? CALL(kill, w.pid, number) : result;
}

static void unblock_usr1(void) { CALL(rt_sigprocmask, SIG_UNBLOCK, L &set_usr1, 0, 8); }

static bool has_handler;
static void block_usr1(void)
{
    has_handler = handle(SIGUSR1);
    CALL(rt_sigprocmask, SIG_BLOCK, L &set_usr1, 0, 8);
}

/* Blocks SIGUSR1 and sends it, so that a call that waits for it need not wait. */
static void pend_usr1(void)
{
    block_usr1();
    send_self(SIGUSR1);
    handled = 0;
}

/* ---- handlers and masks ---- */

/* The kernel's own struct, and glibc's way back out of a handler: the raw call needs both spelled out. */
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};
#define SA_RESTORER_ 0x04000000
static struct kernel_action ignore = {.handler = SIG_IGN, .flags = SA_RESTORER_, .restorer = (void (*)(void))on_signal};

static void stop_handling_usr2(void)
{
    static const struct kernel_action standard;
    CALL(rt_sigaction, SIGUSR2, L &standard, 0, 8);
}

static const char *proof_action(long result)
{
    struct kernel_action now = {0};
    (void)result;
    bool asked = CALL(rt_sigaction, SIGUSR2, 0, L &now, 8) == 0;
    stop_handling_usr2();
    if (asked && now.handler != SIG_IGN)
        return "the handler that was set is not there";
    bool called = !handle(SIGUSR2) || send_self(SIGUSR2) < 0 || comes(SIGUSR2);
    stop_handling_usr2();
    return called ? NULL : "the handler that was set is not called";
}

static const char *proof_mask(long result)
{
    uint64_t now = 0;
    (void)result;
    bool asked = CALL(rt_sigprocmask, SIG_BLOCK, 0, L &now, 8) == 0;
    bool blocked = !asked || now & set_usr1, came = false;
    if (blocked && handle(SIGUSR1)) {
        send_self(SIGUSR1);
        came = handled == SIGUSR1;
    }
    unblock_usr1();
    return !blocked ? "the signal that was blocked is not" : came ? "the signal that was blocked came" : NULL;
}

static char other_stack[32768];
static stack_t stack_set = {.ss_sp = other_stack, .ss_size = sizeof other_stack};

static const char *proof_stack(long result)
{
    static stack_t none = {.ss_flags = SS_DISABLE};
    stack_t now = {0};
    (void)result;
    bool asked = CALL(sigaltstack, 0, L &now) == 0, set = !asked || now.ss_sp == other_stack, elsewhere = false;
    if (set && handle_with(SIGUSR2, SA_ONSTACK) && send_self(SIGUSR2) >= 0 && comes(SIGUSR2))
        elsewhere = handled_at - (uintptr_t)other_stack >= sizeof other_stack;
    stop_handling_usr2();
    CALL(sigaltstack, L &none, 0);
    return !set ? "the stack that was set is not there" : elsewhere ? "handlers run on another stack" : NULL;
}

/* ---- waiting ---- */

static long run_sigtimedwait(void)
{
    pend_usr1();
    long result = CALL(rt_sigtimedwait, L &set_usr1, 0, L B, 8);
    return unblock_usr1(), result;
}

static const char *proof_usr1(long number) { return number == SIGUSR1 ? NULL : "another signal than the one that was sent"; }

static long run_sigpending(void)
{
    pend_usr1();
    memset(A, PATTERN, 8);
    long result = CALL(rt_sigpending, L A, 8);
    return unblock_usr1(), result;
}

static const char *proof_pending(long result)
{
    (void)result;
    return *(uint64_t *)A & set_usr1 || handled != SIGUSR1 ? NULL : "a blocked signal that was sent is not pending";
}

/* The only success of a call that waits for a handler is EINTR. */
static long interrupted(long result) { return result == -EINTR ? 0 : result; }

static long run_sigsuspend(void)
{
    pend_usr1();
    long result = CALL(rt_sigsuspend, L B, 8);
    return unblock_usr1(), interrupted(result);
}

static const char *proof_suspended(long result) { return (void)result, handled ? NULL : "it came back, and no signal had come"; }

static long signal_file;

static bool signal_is_in_file(void)
{
    struct signalfd_siginfo *seen = (struct signalfd_siginfo *)A;
    struct pollfd ready = {.fd = (int)signal_file, .events = POLLIN};
    return CALL(poll, L &ready, 1, 0) == 1 && CALL(read, signal_file, L A, sizeof *seen) > 0 && seen->ssi_signo == SIGUSR1;
}

static const char *proof_signalfd(long fd)
{
    signal_file = fd;
    block_usr1();
    bool sent = send_self(SIGUSR1) >= 0, came = sent && soon(signal_is_in_file);
    unblock_usr1();
    const char *proof = proof_fd(fd);
    return sent && !came ? "a signal that was sent is not in it" : proof;
}

/* ---- sending ---- */

static long unblocked_if_failed(long result)
{
    if (result < 0)
        unblock_usr1();
    return result;
}

static long send_usr1(long nr, long a, long b, long c, long d)
{
    block_usr1();
    return unblocked_if_failed(call6(nr, (long[6]){a, b, c, d}));
}

/* Blocked until here, so that a guest without handlers does not end of it. */
static const char *proof_sent(long result)
{
    (void)result;
    bool came = !has_handler && CALL(rt_sigtimedwait, L &set_usr1, L A, L B, 8) == SIGUSR1;
    unblock_usr1();
    return came || (has_handler && comes(SIGUSR1)) ? NULL : "the signal that it sent never came";
}

static struct { int number, error, code, pad; long rest[14]; } queued = {.code = SI_QUEUE};

static long run_kill(void) { return send_usr1(SC_kill, w.pid, SIGUSR1, 0, 0); }
static long run_tkill(void) { return send_usr1(SC_tkill, w.tid, SIGUSR1, 0, 0); }
static long run_tgkill(void) { return send_usr1(SC_tgkill, w.pid, w.tid, SIGUSR1, 0); }
static long run_queue(void) { return send_usr1(SC_rt_sigqueueinfo, w.pid, SIGUSR1, L &queued, 0); }
static long run_tgqueue(void) { return send_usr1(SC_rt_tgsigqueueinfo, w.pid, w.tid, SIGUSR1, L &queued); }

static void fill_signals(void)
{
    P(rt_sigaction, G(SIGUSR2, L &ignore, 0, 8), SEEN(proof_action), X(99, L &ignore, 0, 8));
    P(rt_sigprocmask, G(SIG_BLOCK, L &set_usr1, 0, 8), SEEN(proof_mask), X(77, L &set_usr1, 0, 8));
    P(rt_sigpending, RUN(run_sigpending), OUT(8), PROOF(proof_pending));
    P(rt_sigtimedwait, RUN(run_sigtimedwait), SEEN(proof_usr1));
    P(rt_sigsuspend, RUN(run_sigsuspend), SEEN(proof_suspended));
    P(rt_sigqueueinfo, RUN(run_queue), SEEN(proof_sent));
    P(rt_tgsigqueueinfo, RUN(run_tgqueue), SEEN(proof_sent));
    P(sigaltstack, G(L &stack_set, 0), SEEN(proof_stack));
    P(kill, RUN(run_kill), SEEN(proof_sent));
    P(tkill, RUN(run_tkill), SEEN(proof_sent));
    P(tgkill, RUN(run_tgkill), SEEN(proof_sent));
    P(signalfd, G(-1, L &set_usr1, 8), PROOF(proof_signalfd), X(BAD_FD, L &set_usr1, 8));
    P(signalfd4, G(-1, L &set_usr1, 8, 0), PROOF(proof_signalfd), X(BAD_FD, L &set_usr1, 8, 0));
    P(restart_syscall, G(0));
}

/* ---- timers that send signals ---- */

#define NEVER_CAME "the time of what it set was over, and its signal never came"
static const struct itimerval far_real = {.it_value = {.tv_sec = 1000}}, near_real = {.it_value = {.tv_usec = 10000}};
static const struct itimerspec far_timer = {.it_value = {.tv_sec = 1000}}, near_timer = {.it_value = {.tv_nsec = 10000000}};
static struct sigevent telling = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
static int timer_id;

/* Of the timer that was made; and it goes. Where it cannot be set, that is another call's fault. */
static const char *proof_timer(long result)
{
    (void)result;
    bool set = handle(SIGUSR1) && CALL(timer_settime, timer_id, 0, L &near_timer, 0) == 0, came = set && comes(SIGUSR1);
    bool deleted = CALL(timer_delete, timer_id) == 0;
    return set && !came ? NEVER_CAME : deleted ? NULL : "what it made cannot be deleted";
}

/* The timer is there until `delete_timer`. */
static long with_timer(long nr, long b, long c)
{
    timer_id = -1;
    CALL(timer_create, CLOCK_MONOTONIC, L &telling, L &timer_id);
    return call6(nr, (long[6]){timer_id, b, c});
}

static long delete_timer(long result) { return CALL(timer_delete, timer_id), result; }
static long run_timer_gettime(void) { return delete_timer(with_timer(SC_timer_gettime, L A, 0)); }
static long run_timer_getoverrun(void) { return delete_timer(with_timer(SC_timer_getoverrun, 0, 0)); }
static long run_timer_delete(void) { return with_timer(SC_timer_delete, 0, 0); }

static long run_timer_settime(void)
{
    long result = with_timer(SC_timer_settime, 0, L &far_timer);
    return result < 0 ? delete_timer(result) : result;
}

static const char *proof_timer_set(long result)
{
    struct itimerspec left = {0};
    bool asked = CALL(timer_gettime, timer_id, L &left) == 0;
    const char *proof = proof_timer(result);
    return asked && left.it_value.tv_sec < 900 ? "a timer set for 1,000 s is not there" : proof;
}

static const char *proof_alarm(long result)
{
    (void)result;
    long left = CALL(alarm, 0);
    if (left < 900 || left > 1000)
        return "an alarm set for 1,000 s is not there";
    bool came = !handle(SIGALRM) || CALL(alarm, 1) < 0 || comes(SIGALRM);
    CALL(alarm, 0);
    return came ? NULL : NEVER_CAME;
}

static const char *proof_itimer(long result)
{
    struct itimerval left = {0};
    static const struct itimerval none;
    (void)result;
    bool there = CALL(getitimer, ITIMER_REAL, L &left) != 0 || left.it_value.tv_sec >= 900;
    bool came = !there || !handle(SIGALRM) || CALL(setitimer, ITIMER_REAL, L &near_real, 0) < 0 || comes(SIGALRM);
    CALL(setitimer, ITIMER_REAL, L &none, 0);
    return !there ? "a timer set for 1,000 s is not there" : came ? NULL : NEVER_CAME;
}

static void fill_alarms(void)
{
    P(getitimer, G(ITIMER_REAL, L A), OUT(32), X(77, L A));
    P(setitimer, G(ITIMER_REAL, L &far_real, 0), SEEN(proof_itimer), X(77, L B, 0));
    P(alarm, G(1000), SEEN(proof_alarm));
    P(timer_create, G(CLOCK_MONOTONIC, L &telling, L &timer_id), PROOF(proof_timer), X(999, L &telling, L A));
    P(timer_settime, RUN(run_timer_settime), SEEN(proof_timer_set));
    P(timer_gettime, RUN(run_timer_gettime), OUT(32), X(0x7777, L A));
    P(timer_getoverrun, RUN(run_timer_getoverrun), X(0x7777));
    P(timer_delete, RUN(run_timer_delete), X(0x7777));
}

#endif
