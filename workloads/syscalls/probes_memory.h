/* Probes of memory, and of System V's and POSIX' shared things. */
#ifndef SYSCALLS_PROBES_MEMORY_H
#define SYSCALLS_PROBES_MEMORY_H

#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "probe.h"

static const char *proof_memory(long address)
{
    volatile char *at = (volatile char *)address;
    if (!address || address & 4095)
        return "not the address of a page";
    if (*at)
        return "new memory is not zero";
    *at = 1;
    return CALL(munmap, address, 4096), NULL;
}

static const char *proof_protect(long result)
{
    (void)result;
    CALL(mprotect, L w.page, 4096, PROT_READ | PROT_WRITE);
    return NULL;
}

static const char *proof_brk(long now)
{
    if (now <= 0)
        return "no break";
    long grown = CALL(brk, now + 4096);
    if (grown == now + 4096)
        CALL(brk, now);
    return grown < now ? "the break fell when it was raised" : NULL;
}

/* A locked page would refuse process_madvise later. */
static const char *proof_locked(long result) { return (void)result, CALL(munlock, L w.page, 4096), NULL; }

/* A page of its own, so that nothing else is lost with it. */
static long run_munmap(void)
{
    long at = CALL(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return CALL(munmap, at, 4096);
}

static long run_mremap(void)
{
    long at = CALL(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long moved = CALL(mremap, at, 4096, 8192, MREMAP_MAYMOVE);
    CALL(munmap, moved > 0 ? moved : at, moved > 0 ? 8192 : 4096);
    return moved;
}

/* ---- System V: every object lives for one probe ---- */

static long shm_id = -1, sem_id = -1, msg_id = -1;

static void sysv_make(void)
{
    shm_id = CALL(shmget, IPC_PRIVATE, 4096, 0600);
    sem_id = CALL(semget, IPC_PRIVATE, 1, 0600);
    msg_id = CALL(msgget, IPC_PRIVATE, 0600);
}

static void sysv_remove(void)
{
    CALL(shmctl, shm_id, IPC_RMID, 0);
    CALL(semctl, sem_id, 0, IPC_RMID, 0);
    CALL(msgctl, msg_id, IPC_RMID, 0);
    shm_id = sem_id = msg_id = -1;
}

#define SYSV(name, ...)                             \
    static long run_##name(void)                    \
    {                                               \
        sysv_make();                                \
        long result = CALL(name, __VA_ARGS__);      \
        return sysv_remove(), result;               \
    }

static struct sembuf sem_up = {.sem_num = 0, .sem_op = 1, .sem_flg = IPC_NOWAIT};
static struct { long type; char text[8]; } message = {.type = 1};

SYSV(shmctl, shm_id, IPC_STAT, L A)
SYSV(semop, sem_id, L &sem_up, 1)
SYSV(semtimedop, sem_id, L &sem_up, 1, L B)
SYSV(semctl, sem_id, 0, GETVAL, 0)
SYSV(msgsnd, msg_id, L &message, 8, IPC_NOWAIT)
SYSV(msgctl, msg_id, IPC_STAT, L A)

static long run_msgrcv(void)
{
    sysv_make();
    CALL(msgsnd, msg_id, L &message, 8, IPC_NOWAIT);
    long result = CALL(msgrcv, msg_id, L A, 8, 0, IPC_NOWAIT);
    return sysv_remove(), result;
}

static long shm_attach(bool detach)
{
    sysv_make();
    long at = CALL(shmat, shm_id, 0, 0);
    bool attached = at > 0 || at < -4095;
    long gone = detach || attached ? CALL(shmdt, attached ? at : BAD_ADDRESS) : 0;
    return sysv_remove(), detach ? gone : at;
}

static long run_shmat(void) { return shm_attach(false); }
static long run_shmdt(void) { return shm_attach(true); }

static const char *proof_shm(long id) { return CALL(shmctl, id, IPC_RMID, 0) == 0 ? NULL : "what it made cannot be removed"; }
static const char *proof_sem(long id) { return CALL(semctl, id, 0, IPC_RMID, 0) == 0 ? NULL : "what it made cannot be removed"; }
static const char *proof_msg(long id) { return CALL(msgctl, id, IPC_RMID, 0) == 0 ? NULL : "what it made cannot be removed"; }

/* ---- POSIX message queues ---- */

static const char mq_name[] = "ukp-probe";

static long mq_make(void)
{
    static struct { long flags, maxmsg, msgsize, count, rest[4]; } attributes = {.maxmsg = 4, .msgsize = 8};
    return CALL(mq_open, L mq_name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, L &attributes);
}

static long mq_with(long nr, bool primed)
{
    long queue = mq_make(), second = nr == SC_mq_getsetattr || nr == SC_mq_notify ? 0 : nr == SC_mq_timedsend ? L B : L A;
    if (primed)
        CALL(mq_timedsend, queue, L B, 1, 0, L B);
    long result = nr == SC_mq_getsetattr ? CALL(mq_getsetattr, queue, 0, L A)
                  : nr == SC_mq_notify   ? CALL(mq_notify, queue, 0)
                                         : call6(nr, (long[6]){queue, second, 8, 0, L B});
    return CALL(close, queue), CALL(mq_unlink, L mq_name), result;
}

static long run_mq_timedsend(void) { return mq_with(SC_mq_timedsend, false); }
static long run_mq_timedreceive(void) { return mq_with(SC_mq_timedreceive, true); }
static long run_mq_notify(void) { return mq_with(SC_mq_notify, false); }
static long run_mq_getsetattr(void) { return mq_with(SC_mq_getsetattr, false); }
static long run_mq_unlink(void) { return CALL(close, mq_make()), CALL(mq_unlink, L mq_name); }
static long run_mq_open(void) { return mq_make(); }
static const char *proof_mq(long queue) { return CALL(mq_unlink, L mq_name), proof_fd(queue); }

static void fill_memory(void)
{
    P(mmap, G(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), SEEN(proof_memory));
    P(mprotect, G(L w.page, 4096, PROT_READ), PROOF(proof_protect), X(BAD_ADDRESS, 4096, PROT_READ | PROT_WRITE));
    P(munmap, RUN(run_munmap));
    P(brk, G(0), PROOF(proof_brk));
    P(mremap, RUN(run_mremap), X(BAD_ADDRESS, 4096, 8192, 0));
    P(msync, G(L w.page, 4096, MS_SYNC), X(BAD_ADDRESS, 4096, MS_SYNC));
    P(mincore, G(L w.page, 4096, L A), OUT(1), X(BAD_ADDRESS, 4096, L A));
    P(madvise, G(L w.page, 4096, MADV_NORMAL), X(L w.page, 4096, 12345));
    P(mlock, G(L w.page, 4096), PROOF(proof_locked), X(BAD_ADDRESS, 4096));
    P(mlock2, G(L w.page, 4096, 0), PROOF(proof_locked), X(BAD_ADDRESS, 4096, 0));
    P(munlock, G(L w.page, 4096), X(BAD_ADDRESS, 4096));
    P(mlockall, G(MCL_CURRENT), X(0x7777));
    P(munlockall, G(0));
    P(remap_file_pages, G(L w.page, 4096, 0, 0, 0), X(L w.page, 4096, 0x7777, 0, 0));
    P(mbind, G(L w.page, 4096, 0, 0, 0, 0), X(L w.page, 4096, 999, 0, 0, 0));
    P(set_mempolicy, G(0, 0, 0), X(999, 0, 0));
    P(get_mempolicy, G(L A, 0, 0, 0, 0), OUT(4), X(L A, 0, 0, 0, 0x7777));
    P(set_mempolicy_home_node, G(L w.page, 4096, 0, 0), X(L w.page, 4096, 0, 0x7777));
    P(migrate_pages, G(0, 0, 0, 0), X(BAD_PID, 0, 0, 0));
    P(move_pages, G(0, 0, 0, 0, 0, 0), X(0, 0, 0, 0, 0, 0x7777));
    P(pkey_mprotect, G(L w.page, 4096, PROT_READ | PROT_WRITE, -1), X(L w.page, 4096, PROT_READ | PROT_WRITE, 99));
    P(pkey_alloc, G(0, 0), X(0, 77));
    P(pkey_free, G(14), X(99));
    P(process_vm_readv, G(w.pid, L &iov_a, 1, L &iov_b, 1, 0), OUT(1), X(BAD_PID, L &iov_a, 1, L &iov_b, 1, 0));
    P(process_vm_writev, G(w.pid, L &iov_b, 1, L &iov_a, 1, 0), OUT(1), X(BAD_PID, L &iov_b, 1, L &iov_a, 1, 0));
    P(memfd_create, G(L "ukp", 0), PROOF(proof_fd));
    P(memfd_secret, G(0), PROOF(proof_fd));
    P(userfaultfd, G(1 | O_CLOEXEC), PROOF(proof_fd));
    P(membarrier, G(0, 0, 0), X(0x77777777, 0, 0));
}

static void fill_shared(void)
{
    P(shmget, G(IPC_PRIVATE, 4096, 0600), PROOF(proof_shm), X(IPC_PRIVATE, 0, 0600));
    P(shmat, RUN(run_shmat), X(0x7fffffff, 0, 0));
    P(shmctl, RUN(run_shmctl), OUT(112), X(0x7fffffff, IPC_STAT, L A));
    P(shmdt, RUN(run_shmdt), X(BAD_ADDRESS));
    P(semget, G(IPC_PRIVATE, 1, 0600), PROOF(proof_sem), X(IPC_PRIVATE, -1, 0600));
    P(semop, RUN(run_semop), X(0x7fffffff, L &sem_up, 1));
    P(semtimedop, RUN(run_semtimedop), X(0x7fffffff, L &sem_up, 1, L B));
    P(semctl, RUN(run_semctl), X(0x7fffffff, 0, GETVAL, 0));
    P(msgget, G(IPC_PRIVATE, 0600), PROOF(proof_msg));
    P(msgsnd, RUN(run_msgsnd), X(0x7fffffff, L &message, 8, IPC_NOWAIT));
    P(msgrcv, RUN(run_msgrcv), OUT(16), X(0x7fffffff, L A, 8, 0, IPC_NOWAIT));
    P(msgctl, RUN(run_msgctl), OUT(120), X(0x7fffffff, IPC_STAT, L A));
    P(mq_open, RUN(run_mq_open), PROOF(proof_mq));
    P(mq_unlink, RUN(run_mq_unlink), X(L "ukp-none"));
    P(mq_timedsend, RUN(run_mq_timedsend), X(BAD_FD, L B, 1, 0, L B));
    P(mq_timedreceive, RUN(run_mq_timedreceive), X(BAD_FD, L A, 8, 0, L B));
    P(mq_notify, RUN(run_mq_notify), X(BAD_FD, 0));
    P(mq_getsetattr, RUN(run_mq_getsetattr), OUT(32), X(BAD_FD, 0, L A));
}

#endif
