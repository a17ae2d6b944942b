/* Probes that end, stop or replace the program, or may: one a boot (only=NR), decided by what is seen. */
#ifndef SYSCALLS_ALONE_H
#define SYSCALLS_ALONE_H

#include <linux/sched.h>
#include <pthread.h>
#include <sys/wait.h>

#include "probes_signals.h"

#define CHILD_STATUS 5
#define EXIT_STATUS 7

/* What the parent of a child that exits with CHILD_STATUS sees. */
static const char *proof_child(long child)
{
    int status = 0;
    long waited = CALL(wait4, child, L &status, 0, 0);
    if (waited == -ENOSYS)
        return NULL;
    return waited == child && WIFEXITED(status) && WEXITSTATUS(status) == CHILD_STATUS ? NULL
                                                                                       : "no child ran, or none to wait for";
}

static long run_fork(void)
{
    long child = raw0(SC_fork);
    if (child == 0)
        raw1(SC_exit_group, CHILD_STATUS);
    return child;
}

/* The child borrows our stack: it must not return from here, nor call anything. */
static long run_vfork(void)
{
    long child = raw0(SC_vfork);
    if (child == 0)
        raw1(SC_exit_group, CHILD_STATUS);
    return child;
}

#define THREAD_FLAGS                                                                                            \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |          \
     CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static volatile int thread_ran;
static bool thread_has_run(void) { return thread_ran; }
static int thread_tid;
static char thread_stack[65536] __attribute__((aligned(4096)));

static long own_fs(void)
{
    long fs;
    __asm__("mov %%fs:0, %0" : "=r"(fs));
    return fs;
}

/* The new thread comes out of the same instruction on another stack: it sets the flag and exits, all in registers. */
static long clone_thread(long nr, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movl $1, (%[flag])\n\t"
                     "mov $60, %%eax\n\t" /* SYS_exit */
                     "xor %%edi, %%edi\n\t"
                     "syscall\n"
                     "1:"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), [flag] "b"(&thread_ran)
                     : RAW_CLOBBER);
    return result;
}

static const char *proof_thread(long result)
{
    (void)result;
    return soon(thread_has_run) ? NULL : "the thread it made never ran";
}

static long run_clone(void)
{
    return clone_thread(SC_clone, THREAD_FLAGS, L thread_stack + sizeof thread_stack, L &thread_tid, L &thread_tid,
                        own_fs());
}

static long run_clone3(void)
{
    static struct clone_args arguments;
    arguments = (struct clone_args){
        .flags = THREAD_FLAGS,
        .stack = (uint64_t)thread_stack,
        .stack_size = sizeof thread_stack,
        .parent_tid = (uint64_t)&thread_tid,
        .child_tid = (uint64_t)&thread_tid,
        .tls = (uint64_t)own_fs(),
    };
    return clone_thread(SC_clone3, L &arguments, sizeof arguments, 0, 0, 0);
}

/* exit ends one thread: made for it, it must be gone, and whoever joins it must hear of it. */
static volatile int came_back;

static void *exiting(void *argument)
{
    raw1(SC_exit, 0);
    came_back = 1;
    return argument;
}

static long run_exit(void)
{
    pthread_t thread;
    struct timespec until;
    if (pthread_create(&thread, NULL, exiting, NULL) != 0)
        return raw1(SC_exit, EXIT_STATUS); /* no threads: the program ends, and the host sees it */
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    pthread_timedjoin_np(thread, NULL, &until);
    return 0;
}

static const char *proof_exit(long result)
{
    (void)result;
    return came_back ? "it came back" : NULL;
}

static long run_exit_group(void) { return raw1(SC_exit_group, EXIT_STATUS); }
static const char *proof_ended(long result) { return (void)result, "it came back"; }

static long run_reboot(void) { return CALL(reboot, 0xfee1dead, 672274793, 0x4321fedc /* power off */, 0); }

static const char *self_path; /* of this program in the guest: execve's argument */
static char *const exec_argv[] = {"syscalls", "execd=59", NULL}, *const execat_argv[] = {"syscalls", "execd=322", NULL};
static char *const exec_env[] = {NULL};

static long run_execve(void) { return CALL(execve, L self_path, L exec_argv, L exec_env); }
static long run_execveat(void) { return CALL(execveat, AT_FDCWD, L self_path, L execat_argv, L exec_env, 0); }

/* The way back out of a handler. Where no handler runs, the call is made bare: only ENOSYS can come back from that. */
static long run_sigreturn(void)
{
    if (handle(SIGUSR1))
        send_self(SIGUSR1);
    return handled == SIGUSR1 ? 0 : raw0(SC_rt_sigreturn);
}

/* Its only success is EINTR after a handler ran; a guest that sends no alarm stays in it, which is what is to be seen. */
static long run_pause(void)
{
    static const struct itimerval in_200_ms = {.it_value = {.tv_usec = 200000}};
    handle(SIGALRM);
    if (CALL(setitimer, ITIMER_REAL, L &in_200_ms, 0) < 0)
        CALL(alarm, 1);
    return interrupted(raw0(SC_pause));
}

static void fill_alone(bool harm)
{
    P(exit, ALONE, RUN(run_exit), SEEN(proof_exit));
    P(exit_group, ALONE, RUN(run_exit_group), SEEN(proof_ended));
    P(fork, ALONE, RUN(run_fork), SEEN(proof_child));
    P(vfork, ALONE, RUN(run_vfork), SEEN(proof_child));
    P(clone, ALONE, RUN(run_clone), SEEN(proof_thread));
    P(clone3, ALONE, RUN(run_clone3), SEEN(proof_thread));
    P(execve, ALONE, RUN(run_execve), SEEN(proof_ended));
    P(execveat, ALONE, RUN(run_execveat), SEEN(proof_ended));
    P(rt_sigreturn, ALONE, RUN(run_sigreturn), SEEN(proof_suspended));
    P(pause, ALONE, RUN(run_pause), SEEN(proof_suspended));
    P(vhangup, ALONE, HARM, G(0)); /* hangs up the terminal */
    if (harm)
        P(reboot, ALONE, HARM, RUN(run_reboot), SEEN(proof_ended));
    else
        P(reboot, ALONE, G(0, 0, 0, 0), X(0, 0, 0, 0)); /* wrong magic: a kernel that has it answers EINVAL */
}

#endif
