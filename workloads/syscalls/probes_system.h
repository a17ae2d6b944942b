/* Probes of the system as a whole: nothing here changes what it is asked about, not even for root. */
#ifndef SYSCALLS_PROBES_SYSTEM_H
#define SYSCALLS_PROBES_SYSTEM_H

#include <sys/utsname.h>

#include "probe.h"

static unsigned seccomp_allow = 0x7fff0000; /* SECCOMP_RET_ALLOW */

static const char *proof_name(long result)
{
    char now[16] = "";
    (void)result;
    return CALL(prctl, 16 /* PR_GET_NAME */, L now) == 0 && strcmp(now, "ukprobe") != 0 ? "the name that was set is not there"
                                                                                     : NULL;
}

static long run_sethostname(void)
{
    struct utsname now;
    memset(&now, 0, sizeof now);
    CALL(uname, L &now);
    return CALL(sethostname, L now.nodename, strlen(now.nodename));
}

static long run_setdomainname(void)
{
    struct utsname now;
    memset(&now, 0, sizeof now);
    CALL(uname, L &now);
    return CALL(setdomainname, L now.domainname, strlen(now.domainname));
}

static long run_ustat(void)
{
    struct stat here = {0};
    CALL(fstat, w.file, L &here);
    return CALL(ustat, here.st_dev, L A);
}

/* Probed with all arguments 0: x86-64 Linux has never had them, or no longer. */
static void fill_relics(void)
{
    P(_sysctl, G(0));
    P(create_module, G(0));
    P(get_kernel_syms, G(0));
    P(query_module, G(0));
    P(nfsservctl, G(0));
    P(getpmsg, G(0));
    P(putpmsg, G(0));
    P(afs_syscall, G(0));
    P(tuxcall, G(0));
    P(security, G(0));
    P(vserver, G(0));
    P(set_thread_area, G(L B));
    P(get_thread_area, G(L B));
    P(uselib, G(NO_PATH), X(NO_PATH));
    P(lookup_dcookie, G(0, L A, 64), X(0, L A, 0));
}

static void fill_system(void)
{
    P(uname, G(L A), OUT(65));
    P(sysinfo, G(L A), OUT(112));
    P(syslog, G(10, 0, 0), X(99, 0, 0));
    P(sysfs, G(3), X(99));
    P(ustat, RUN(run_ustat), OUT(16), X(0x7777, L A));
    P(modify_ldt, G(0, L A, 64));
    P(arch_prctl, G(0x1003 /* ARCH_GET_FS */, L A), OUT(8), X(0x7777, L A));
    P(prctl, G(15 /* PR_SET_NAME */, L "ukprobe"), SEEN(proof_name), X(0x77777));
    P(sethostname, RUN(run_sethostname), X(L A, 9999));
    P(setdomainname, RUN(run_setdomainname), X(L A, 9999));
    P(iopl, G(0), X(9));
    P(ioperm, G(0x80, 1, 0), X(0x10000, 1, 0));
    P(getrandom, G(L A, 16, 1 /* GRND_NONBLOCK */), OUT(16));
    P(chroot, G(L "/"), X(NO_PATH));
    P(pivot_root, G(NO_PATH, NO_PATH), X(NO_PATH, NO_PATH));
    P(mount, G(L "none", NO_PATH, L "none", 0, 0), X(L "none", NO_PATH, L "none", 0, 0));
    P(umount2, G(NO_PATH, 0), X(NO_PATH, 0));
    P(swapon, G(NO_PATH, 0), X(NO_PATH, 0));
    P(swapoff, G(NO_PATH), X(NO_PATH));
    P(acct, G(NO_PATH), X(NO_PATH));
    P(init_module, G(L B, 0, L ""), X(L B, 0, L ""));
    P(finit_module, G(BAD_FD, L "", 0), X(BAD_FD, L "", 0));
    P(delete_module, G(L "ukperf_none", O_NONBLOCK), X(L "ukperf_none", O_NONBLOCK));
    P(quotactl, G(0x77777700, NO_PATH, 0, 0), X(0x77777700, NO_PATH, 0, 0));
    P(quotactl_fd, G(BAD_FD, 0x77777700, 0, 0), X(BAD_FD, 0x77777700, 0, 0));
    P(kexec_load, G(0, 0, 0, 0xffff), X(0, 0, 0, 0xffff));
    P(kexec_file_load, G(BAD_FD, BAD_FD, 0, 0, 0xff00), X(BAD_FD, BAD_FD, 0, 0, 0xff00));
    P(add_key, G(L "ukp_none", L "x", 0, 0, -3), X(L "ukp_none", L "x", 0, 0, -3));
    P(request_key, G(L "ukp_none", L "x", 0, 0), X(L "ukp_none", L "x", 0, 0));
    P(keyctl, G(0, -3, 0), X(0x7777, 0, 0));
    P(perf_event_open, G(L B, 0, -1, -1, 0), PROOF(proof_fd), X(L B, 0, -1, -1, 0x7770));
    P(bpf, G(9999, L B, 16), X(9999, L B, 16));
    P(seccomp, G(2 /* GET_ACTION_AVAIL */, 0, L &seccomp_allow), X(99, 0, 0));
    P(landlock_create_ruleset, G(0, 0, 1), X(0, 0, 0x7776));
    P(landlock_add_rule, G(BAD_FD, 1, L B, 0), X(BAD_FD, 1, L B, 0));
    P(landlock_restrict_self, G(BAD_FD, 0), X(BAD_FD, 0));
}

static void fill_mounts(void)
{
    P(open_tree, G(AT_FDCWD, L w.base, O_CLOEXEC), PROOF(proof_fd), X(AT_FDCWD, NO_PATH, O_CLOEXEC));
    P(move_mount, G(BAD_FD, L "", BAD_FD, L "", 0), X(BAD_FD, L "", BAD_FD, L "", 0));
    P(fsopen, G(L "tmpfs", 0), PROOF(proof_fd), X(L "ukp_none", 0));
    P(fsconfig, G(BAD_FD, 6, 0, 0, 0), X(BAD_FD, 6, 0, 0, 0));
    P(fsmount, G(BAD_FD, 0, 0), X(BAD_FD, 0, 0));
    P(fspick, G(AT_FDCWD, L "/", 0), PROOF(proof_fd), X(AT_FDCWD, NO_PATH, 0));
    P(mount_setattr, G(AT_FDCWD, NO_PATH, 0, L B, 32), X(AT_FDCWD, NO_PATH, 0x77770000, L B, 32));
}

#endif
