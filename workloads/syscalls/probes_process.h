/* Probes of processes, identities and scheduling. What a call sets is what it found, or is set back. */
#ifndef SYSCALLS_PROBES_PROCESS_H
#define SYSCALLS_PROBES_PROCESS_H

#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/wait.h>

#include "probes_signals.h"

/* ---- identity ---- */

static struct __user_cap_header_struct cap_head = {.version = _LINUX_CAPABILITY_VERSION_3};
static struct __user_cap_header_struct cap_bad = {.version = 77};

static long run_setgroups(void)
{
    static gid_t groups[65536];
    long count = CALL(getgroups, 65536, L groups);
    return CALL(setgroups, count > 0 ? count : 0, L groups);
}

static long run_capset(void)
{
    CALL(capget, L &cap_head, L A);
    return CALL(capset, L &cap_head, L A);
}

static void fill_identity(void)
{
    long uid = getuid(), gid = getgid();
    P(getpid, G(0), PROOF(proof_positive));
    P(gettid, G(0), PROOF(proof_positive));
    P(getppid, G(0));
    P(getuid, G(0));
    P(getgid, G(0));
    P(geteuid, G(0));
    P(getegid, G(0));
    P(setuid, G(uid));
    P(setgid, G(gid));
    P(setreuid, G(-1, -1));
    P(setregid, G(-1, -1));
    P(setresuid, G(-1, -1, -1));
    P(setresgid, G(-1, -1, -1));
    P(getresuid, G(L A, L A + 4, L A + 8), OUT(12));
    P(getresgid, G(L A, L A + 4, L A + 8), OUT(12));
    P(setfsuid, G(uid));
    P(setfsgid, G(gid));
    P(getgroups, G(0, 0));
    P(setgroups, RUN(run_setgroups), X(0x7fffffff, L A));
    P(getpgrp, G(0));
    P(getpgid, G(0), X(BAD_PID));
    P(setpgid, G(0, 0), X(BAD_PID, 0));
    P(getsid, G(0), X(BAD_PID));
    P(setsid, G(0));
    P(capget, G(L &cap_head, L A), OUT(24));
    P(capset, RUN(run_capset), X(L &cap_bad, L A));
    P(personality, G(0xffffffff));
    P(set_tid_address, G(L &w.tid), PROOF(proof_positive));
    P(getcpu, G(L A, L A + 4, 0), OUT(8));
}

/* ---- limits and scheduling ---- */

static long run_setrlimit(void)
{
    struct rlimit limit;
    if (CALL(getrlimit, RLIMIT_CORE, L &limit) != 0)
        return CALL(setrlimit, RLIMIT_CORE, L B);
    return CALL(setrlimit, RLIMIT_CORE, L &limit);
}

static const char *proof_rlimit(long result)
{
    struct rlimit before, lower, now = {0};
    (void)result;
    if (CALL(getrlimit, RLIMIT_NOFILE, L &before) != 0)
        return NULL;
    lower = before;
    lower.rlim_cur = 300;
    bool set = CALL(setrlimit, RLIMIT_NOFILE, L &lower) == 0 && CALL(getrlimit, RLIMIT_NOFILE, L &now) == 0;
    CALL(setrlimit, RLIMIT_NOFILE, L &before);
    return set && now.rlim_cur != 300 ? "a limit that was set is not there" : NULL;
}

static long run_setpriority(void) { return CALL(setpriority, PRIO_PROCESS, 0, 20 - CALL(getpriority, PRIO_PROCESS, 0)); }

static long run_sched_setparam(void)
{
    CALL(sched_getparam, 0, L B);
    return CALL(sched_setparam, 0, L B);
}

static long run_setscheduler(void)
{
    long policy = CALL(sched_getscheduler, 0);
    CALL(sched_getparam, 0, L B);
    return CALL(sched_setscheduler, 0, policy > 0 ? policy : 0, L B);
}

static long run_setattr(void)
{
    if (CALL(sched_getattr, 0, L B, 48, 0) < 0)
        *(uint32_t *)B = 48;
    return CALL(sched_setattr, 0, L B, 0);
}

static long run_setaffinity(void)
{
    long bytes = CALL(sched_getaffinity, 0, sizeof B, L B);
    if (bytes <= 0)
        bytes = 8, B[0] = 1;
    return CALL(sched_setaffinity, 0, bytes, L B);
}

static long run_ioprio_set(void)
{
    long now = CALL(ioprio_get, 1, 0);
    return CALL(ioprio_set, 1, 0, now > 0 ? now : 0);
}

static long run_robust(void)
{
    long head = 0, size = 24;
    CALL(get_robust_list, 0, L &head, L &size);
    return CALL(set_robust_list, head, size);
}

static void fill_scheduling(void)
{
    P(sched_yield, G(0));
    P(getrlimit, G(RLIMIT_NOFILE, L A), OUT(16), X(999, L A));
    P(setrlimit, RUN(run_setrlimit), SEEN(proof_rlimit), X(999, L B));
    P(prlimit64, G(0, RLIMIT_NOFILE, 0, L A), OUT(16), X(0, 999, 0, L A));
    P(getrusage, G(0, L A), OUT(144), X(999, L A));
    P(getpriority, G(PRIO_PROCESS, 0), PROOF(proof_positive), X(99, 0));
    P(setpriority, RUN(run_setpriority), X(99, 0, 0));
    P(sched_getparam, G(0, L A), OUT(4), X(BAD_PID, L A));
    P(sched_setparam, RUN(run_sched_setparam), X(BAD_PID, L B));
    P(sched_getscheduler, G(0), X(BAD_PID));
    P(sched_setscheduler, RUN(run_setscheduler), X(0, 999, L B));
    P(sched_get_priority_max, G(SCHED_FIFO), X(999));
    P(sched_get_priority_min, G(SCHED_FIFO), X(999));
    P(sched_rr_get_interval, G(0, L A), OUT(16), X(BAD_PID, L A));
    P(sched_setattr, RUN(run_setattr), X(BAD_PID, L B, 0));
    P(sched_getattr, G(0, L A, 48, 0), OUT(48), X(BAD_PID, L A, 48, 0));
    P(sched_setaffinity, RUN(run_setaffinity), X(BAD_PID, 8, L B));
    P(sched_getaffinity, G(0, sizeof A, L A), OUT(8), X(BAD_PID, sizeof A, L A));
    P(ioprio_get, G(1, 0), X(99, 0));
    P(ioprio_set, RUN(run_ioprio_set), X(99, 0, 0));
    P(futex, G(L B, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), X(L B, 0x77, 1, 0, 0, 0));
    P(futex_waitv, G(L B, 0, 0, 0, 0), X(L B, 0, 0x77, 0, 0));
    P(set_robust_list, RUN(run_robust), X(0, 7));
    P(get_robust_list, G(0, L A, L A + 8), OUT(16), X(BAD_PID, L A, L A + 8));
    P(rseq, G(L B, 7, 0, 0), X(L B, 7, 0, 0));
}

/* ---- other processes, seen from this one ---- */

static long pidfd(void) { return CALL(pidfd_open, w.pid, 0); }

static long with_pidfd(long nr, long b, long c, long d)
{
    long fd = pidfd();
    long result = call6(nr, (long[6]){fd >= 0 ? fd : BAD_FD, b, c, d});
    if (fd >= 0)
        CALL(close, fd);
    return result;
}

static long run_pidfd_signal(void)
{
    block_usr1();
    return unblocked_if_failed(with_pidfd(SC_pidfd_send_signal, SIGUSR1, 0, 0));
}
static long run_pidfd_getfd(void) { return with_pidfd(SC_pidfd_getfd, w.file, 0, 0); }
static long run_process_madvise(void) { return with_pidfd(SC_process_madvise, L &iov_page, 1, 20 /* MADV_COLD */); }

static void fill_others(void)
{
    P(wait4, G(-1, L A, WNOHANG, 0), X(BAD_PID, L A, WNOHANG, 0));
    P(waitid, G(P_ALL, 0, L A, WNOHANG | WEXITED, 0), X(77, 0, L A, WNOHANG | WEXITED, 0));
    P(ptrace, G(0x7777, BAD_PID, 0, 0), X(0x7777, BAD_PID, 0, 0));
    P(kcmp, G(w.pid, w.pid, 0, w.file, w.file), X(w.pid, w.pid, 77, 0, 0));
    P(unshare, G(0), X(1));
    P(setns, G(w.file, 0), X(BAD_FD, 0));
    P(pidfd_open, G(w.pid, 0), PROOF(proof_fd), X(BAD_PID, 0));
    P(pidfd_send_signal, RUN(run_pidfd_signal), SEEN(proof_sent));
    P(pidfd_getfd, RUN(run_pidfd_getfd), PROOF(proof_fd), X(BAD_FD, 0, 0));
    P(process_madvise, RUN(run_process_madvise), X(BAD_FD, L &iov_page, 1, 20, 0));
    P(process_mrelease, G(BAD_FD, 0), X(BAD_FD, 0));
}

#endif
