/* Probes of files and descriptors. */
#ifndef SYSCALLS_PROBES_FILE_H
#define SYSCALLS_PROBES_FILE_H

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "probe.h"

static struct stat stat_now;

static bool stat_file(void) { return CALL(fstat, w.file, L &stat_now) == 0; }

static const char *proof_size(long want) { return stat_file() && stat_now.st_size != want ? "the size did not change" : NULL; }
static const char *proof_size_80(long result) { return (void)result, proof_size(80); }
static const char *proof_size_64(long result) { return (void)result, proof_size(64); }

static const char *proof_mode(mode_t want) { return stat_file() && (stat_now.st_mode & 0777) != want ? "the mode did not change" : NULL; }
static const char *proof_mode_640(long result) { return (void)result, proof_mode(0640); }
static const char *proof_mode_600(long result) { return (void)result, proof_mode(0600); }

/* Every call that sets times sets them to 1,000,000,000 s; back to 0 afterwards, for the next. */
static const char *proof_mtime(long result)
{
    static const struct timespec zero[2];
    (void)result;
    bool kept = stat_file() && stat_now.st_mtime != 1000000000;
    CALL(utimensat, AT_FDCWD, L w.path, L zero, 0);
    return kept ? "the time did not change" : NULL;
}

static const char *proof_closed(long result)
{
    struct stat found;
    (void)result;
    return CALL(fstat, w.spare, L &found) == 0 ? "the descriptor is still open" : NULL;
}

static const char *proof_3(long at) { return at == 3 ? NULL : "the offset is not the one that was set"; }
static const char *proof_fd_200(long fd) { return CALL(close, fd), fd == 200 ? NULL : "not the descriptor that was asked for"; }

static const char *proof_ready(long result)
{
    return w.pipe_w < 0 || result == 1 ? NULL : "an empty pipe is not reported as writable";
}

static const char *proof_dup(long fd)
{
    if (fd == w.file)
        return "the same descriptor again";
    return proof_fd(fd);
}

static const char *proof_cwd(long result)
{
    char now[256] = "";
    (void)result;
    bool asked = CALL(getcwd, L now, sizeof now) > 0;
    CALL(chdir, L w.cwd);
    return asked && !strstr(now, "ukp") ? "the working folder did not change" : NULL;
}

static const char *proof_umask(long result)
{
    (void)result;
    long before = CALL(umask, 027);
    long after = CALL(umask, before);
    return after == 027 ? NULL : "the mask that was set is not the one that is returned";
}

static const char *proof_fcntl(long flags)
{
    if (CALL(fcntl, w.pipe_r, F_SETFL, flags | O_NONBLOCK) != 0)
        return NULL;
    long now = CALL(fcntl, w.pipe_r, F_GETFL);
    CALL(fcntl, w.pipe_r, F_SETFL, flags);
    return now & O_NONBLOCK ? NULL : "O_NONBLOCK was set and is not there";
}

/* Two descriptions of one file: what the first has locked, the second cannot have. */
static const char *proof_locked_file(long result)
{
    (void)result;
    bool both = CALL(flock, w.spare, 2 | 4) == 0;
    CALL(flock, w.file, 8);
    return both ? "two holders of a lock that only one can have" : NULL;
}

static const char *proof_listing(long bytes) { return bytes > 0 ? NULL : "a folder with a file in it has no entries"; }

static long run_getdents(void)
{
    long fd = open_raw(w.base, O_RDONLY | O_DIRECTORY);
    long result = CALL(getdents, fd, L A, sizeof A);
    CALL(close, fd);
    return result;
}

static long run_getdents64(void)
{
    long fd = open_raw(w.base, O_RDONLY | O_DIRECTORY);
    long result = CALL(getdents64, fd, L A, sizeof A);
    CALL(close, fd);
    return result;
}

static long run_rename(void) { return make_fresh(), CALL(rename, L w.fresh, L w.other); }
static long run_renameat(void) { return make_fresh(), CALL(renameat, AT_FDCWD, L w.fresh, AT_FDCWD, L w.other); }
static long run_renameat2(void) { return make_fresh(), CALL(renameat2, AT_FDCWD, L w.fresh, AT_FDCWD, L w.other); }
static long run_unlink(void) { return make_fresh(), CALL(unlink, L w.fresh); }
static long run_unlinkat(void) { return make_fresh(), CALL(unlinkat, AT_FDCWD, L w.fresh, 0); }
static long run_rmdir(void) { return CALL(mkdir, L w.fresh, 0700), CALL(rmdir, L w.fresh); }

static long run_readlink(void)
{
    CALL(symlink, L "file", L w.fresh);
    long result = CALL(readlink, L w.fresh, L A, 64);
    return CALL(unlink, L w.fresh), result;
}

static long run_readlinkat(void)
{
    CALL(symlinkat, L "file", AT_FDCWD, L w.fresh);
    long result = CALL(readlinkat, AT_FDCWD, L w.fresh, L A, 64);
    return CALL(unlink, L w.fresh), result;
}

/* A pipe with a byte in it, made for one call and closed again. */
static long with_pipe(long nr, long second)
{
    int fds[2] = {-1, -1};
    if (CALL(pipe, L fds) < 0)
        CALL(pipe2, L fds, 0);
    CALL(write, fds[1], L B, 1);
    long result = call6(nr, (long[6]){fds[0], 0, second, 0, 1, 2 /* SPLICE_F_NONBLOCK */});
    return CALL(close, fds[0]), CALL(close, fds[1]), result;
}

static long run_splice(void) { return with_pipe(SC_splice, w.null); }

static long run_tee(void)
{
    int fds[2] = {-1, -1};
    CALL(pipe, L fds);
    long result = raw6(SC_tee, w.pipe_r, fds[1], 1, 2, 0, 0);
    return CALL(close, fds[0]), CALL(close, fds[1]), result;
}

static long run_vmsplice(void)
{
    int fds[2] = {-1, -1};
    CALL(pipe, L fds);
    long result = CALL(vmsplice, fds[1], L &iov_b, 1, 2);
    return CALL(close, fds[0]), CALL(close, fds[1]), result;
}

static long run_copy_file_range(void)
{
    long out = open_new(w.fresh), at = 0;
    long result = CALL(copy_file_range, w.file, L &at, out, 0, 1, 0);
    CALL(close, out);
    CALL(unlink, L w.fresh);
    return result;
}

/* From the start of the regular file: what was written before has moved its offset. */
static long run_readv(void) { return CALL(lseek, w.file, 0, SEEK_SET), CALL(readv, w.file, L &iov_a, 1); }

static fd_set select_set;
static long old_utimes[2] = {1000000000, 1000000000};

static void fill_file_io(void)
{
    P(read, G(w.pipe_r >= 0 ? w.pipe_r : w.zero, L A, 1), OUT(1), PROOF(proof_one), X(BAD_FD, L A, 1));
    P(write, G(w.null, L B, 1), PROOF(proof_one), X(BAD_FD, L B, 1));
    P(open, G(L w.path, O_RDONLY), PROOF(proof_fd), X(NO_PATH, O_RDONLY));
    P(close, G(w.spare), SEEN(proof_closed), X(BAD_FD));
    P(poll, G(L &poll_one, 1, 0), PROOF(proof_ready));
    P(lseek, G(w.file, 3, SEEK_SET), PROOF(proof_3), X(BAD_FD, 3, SEEK_SET));
    P(ioctl, G(w.pipe_r, FIONREAD, L A), OUT(4), X(BAD_FD, FIONREAD, L A));
    P(pread64, G(w.file, L A, 1, 0), OUT(1), PROOF(proof_one), X(BAD_FD, L A, 1, 0));
    P(pwrite64, G(w.file, L B, 1, 0), PROOF(proof_one), X(BAD_FD, L B, 1, 0));
    P(readv, RUN(run_readv), OUT(1), PROOF(proof_one), X(BAD_FD, L &iov_a, 1));
    P(writev, G(w.file, L &iov_b, 1), PROOF(proof_one), X(BAD_FD, L &iov_b, 1));
    P(preadv, G(w.file, L &iov_a, 1, 0), OUT(1), PROOF(proof_one), X(BAD_FD, L &iov_a, 1, 0));
    P(pwritev, G(w.file, L &iov_b, 1, 0), PROOF(proof_one), X(BAD_FD, L &iov_b, 1, 0));
    P(preadv2, G(w.file, L &iov_a, 1, 0), OUT(1), PROOF(proof_one), X(BAD_FD, L &iov_a, 1, 0));
    P(pwritev2, G(w.file, L &iov_b, 1, 0), PROOF(proof_one), X(BAD_FD, L &iov_b, 1, 0));
    P(pipe, G(L A), OUT(8), SEEN(proof_pipe));
    P(pipe2, G(L A, 0), OUT(8), SEEN(proof_pipe));
    FD_ZERO(&select_set);
    if (w.pipe_w >= 0)
        FD_SET((int)w.pipe_w, &select_set);
    P(select, G(w.pipe_w + 1, 0, L &select_set, 0, L B), PROOF(proof_ready));
    P(pselect6, G(0, 0, 0, 0, L B, 0));
    P(ppoll, G(L &poll_one, 1, L B, 0, 8), PROOF(proof_ready));
    P(dup, G(w.file), PROOF(proof_dup), X(BAD_FD));
    P(dup2, G(w.file, 200), PROOF(proof_fd_200), X(BAD_FD, 200));
    P(dup3, G(w.file, 200, 0), PROOF(proof_fd_200), X(BAD_FD, 200, 0));
    P(sendfile, G(w.null, w.file, 0, 1), X(BAD_FD, w.file, 0, 1));
    P(fcntl, G(w.pipe_r, F_GETFL), SEEN(proof_fcntl), X(BAD_FD, F_GETFL));
    P(flock, G(w.file, 2 | 4), SEEN(proof_locked_file), X(BAD_FD, 1 | 4));
    P(fsync, G(w.file), X(BAD_FD));
    P(fdatasync, G(w.file), X(BAD_FD));
    P(sync, G(0));
    P(syncfs, G(w.file), X(BAD_FD));
    P(sync_file_range, G(w.file, 0, 0, 0), X(BAD_FD, 0, 0, 0));
    P(truncate, G(L w.path, 80), SEEN(proof_size_80), X(NO_PATH, 0));
    P(ftruncate, G(w.file, 64), SEEN(proof_size_64), X(BAD_FD, 0));
    P(fallocate, G(w.file, 0, 0, 64), X(BAD_FD, 0, 0, 64));
    P(readahead, G(w.file, 0, 16), X(BAD_FD, 0, 16));
    P(fadvise64, G(w.file, 0, 0, 0), X(BAD_FD, 0, 0, 0));
    P(splice, RUN(run_splice), X(BAD_FD, 0, w.null, 0, 1, 2));
    P(tee, RUN(run_tee), X(BAD_FD, w.pipe_w, 1, 2));
    P(vmsplice, RUN(run_vmsplice), X(BAD_FD, L &iov_b, 1, 2));
    P(copy_file_range, RUN(run_copy_file_range), X(BAD_FD, 0, BAD_FD, 0, 1, 0));
    P(close_range, G(5000, 5001, 0), X(10, 5, 0));
}

static void fill_file_names(void)
{
    P(stat, G(L w.path, L A), OUT(144), X(NO_PATH, L A));
    P(fstat, G(w.file, L A), OUT(144), X(BAD_FD, L A));
    P(lstat, G(L w.path, L A), OUT(144), X(NO_PATH, L A));
    P(newfstatat, G(AT_FDCWD, L w.path, L A, 0), OUT(144), X(BAD_FD, L "x", L A, 0));
    P(statx, G(AT_FDCWD, L w.path, 0, 0x7ff, L A), OUT(256), X(BAD_FD, L "x", 0, 0x7ff, L A));
    P(access, G(L w.path, R_OK), X(NO_PATH, R_OK));
    P(faccessat, G(AT_FDCWD, L w.path, R_OK), X(BAD_FD, L "x", R_OK));
    P(faccessat2, G(AT_FDCWD, L w.path, R_OK, 0), X(BAD_FD, L "x", R_OK, 0));
    P(getdents, RUN(run_getdents), PROOF(proof_listing), X(BAD_FD, L A, sizeof A));
    P(getdents64, RUN(run_getdents64), PROOF(proof_listing), X(BAD_FD, L A, sizeof A));
    P(getcwd, G(L A, 4096), OUT(1));
    P(chdir, G(L w.base), SEEN(proof_cwd), X(NO_PATH));
    P(fchdir, G(w.dir), SEEN(proof_cwd), X(BAD_FD));
    P(rename, RUN(run_rename), SEEN(proof_moved), X(NO_PATH, L w.other));
    P(renameat, RUN(run_renameat), SEEN(proof_moved), X(BAD_FD, L "x", BAD_FD, L "y"));
    P(renameat2, RUN(run_renameat2), SEEN(proof_moved), X(BAD_FD, L "x", BAD_FD, L "y", 0));
    P(mkdir, G(L w.fresh, 0700), SEEN(proof_fresh), X(NO_PATH, 0700));
    P(mkdirat, G(AT_FDCWD, L w.fresh, 0700), SEEN(proof_fresh), X(BAD_FD, L "x", 0700));
    P(rmdir, RUN(run_rmdir), SEEN(proof_gone), X(NO_PATH));
    P(creat, G(L w.fresh, 0600), SEEN(proof_fresh_fd), X(NO_PATH, 0600));
    P(openat, G(AT_FDCWD, L w.path, O_RDONLY), PROOF(proof_fd), X(BAD_FD, L "x", O_RDONLY));
    P(openat2, G(AT_FDCWD, L w.path, L B, 24), PROOF(proof_fd), X(BAD_FD, L "x", L B, 24));
    P(link, G(L w.path, L w.fresh), SEEN(proof_fresh), X(NO_PATH, L w.fresh));
    P(linkat, G(AT_FDCWD, L w.path, AT_FDCWD, L w.fresh, 0), SEEN(proof_fresh), X(BAD_FD, L "x", BAD_FD, L "y", 0));
    P(unlink, RUN(run_unlink), SEEN(proof_gone), X(NO_PATH));
    P(unlinkat, RUN(run_unlinkat), SEEN(proof_gone), X(BAD_FD, L "x", 0));
    P(symlink, G(L w.path, L w.fresh), SEEN(proof_fresh), X(L "x", NO_PATH));
    P(symlinkat, G(L w.path, AT_FDCWD, L w.fresh), SEEN(proof_fresh), X(L "x", BAD_FD, L "y"));
    P(readlink, RUN(run_readlink), OUT(4), X(NO_PATH, L A, 64));
    P(readlinkat, RUN(run_readlinkat), OUT(4), X(BAD_FD, L "x", L A, 64));
    P(chmod, G(L w.path, 0640), SEEN(proof_mode_640), X(NO_PATH, 0600));
    P(fchmod, G(w.file, 0600), SEEN(proof_mode_600), X(BAD_FD, 0600));
    P(fchmodat, G(AT_FDCWD, L w.path, 0640), SEEN(proof_mode_640), X(BAD_FD, L "x", 0600));
    P(chown, G(L w.path, getuid(), getgid()), X(NO_PATH, 0, 0));
    P(fchown, G(w.file, getuid(), getgid()), X(BAD_FD, 0, 0));
    P(lchown, G(L w.path, getuid(), getgid()), X(NO_PATH, 0, 0));
    P(fchownat, G(AT_FDCWD, L w.path, getuid(), getgid(), 0), X(BAD_FD, L "x", 0, 0, 0));
    P(umask, G(077), SEEN(proof_umask));
    P(utime, G(L w.path, L old_utimes), SEEN(proof_mtime), X(NO_PATH, 0));
    P(utimes, G(L w.path, L old_times), SEEN(proof_mtime), X(NO_PATH, 0));
    P(futimesat, G(AT_FDCWD, L w.path, L old_times), SEEN(proof_mtime), X(BAD_FD, L "x", 0));
    P(utimensat, G(AT_FDCWD, L w.path, L old_times, 0), SEEN(proof_mtime), X(BAD_FD, L "x", 0, 0));
    P(mknod, G(L w.fresh, S_IFREG | 0600, 0), SEEN(proof_fresh), X(NO_PATH, S_IFREG | 0600, 0));
    P(mknodat, G(AT_FDCWD, L w.fresh, S_IFREG | 0600, 0), SEEN(proof_fresh), X(BAD_FD, L "x", S_IFREG | 0600, 0));
    P(statfs, G(L w.base, L A), OUT(120), X(NO_PATH, L A));
    P(fstatfs, G(w.file, L A), OUT(120), X(BAD_FD, L A));
    P(name_to_handle_at, G(AT_FDCWD, L w.path, L B, L A, 0), X(BAD_FD, L "x", L B, L A, 0));
    P(open_by_handle_at, G(BAD_FD, L B, 0), PROOF(proof_fd), X(BAD_FD, L B, 0));
}

static void fill_file_xattr(void)
{
    static const char name[] = "user.ukp";
    P(setxattr, G(L w.path, L name, L B, 1, 0), X(NO_PATH, L name, L B, 1, 0));
    P(lsetxattr, G(L w.path, L name, L B, 1, 0), X(NO_PATH, L name, L B, 1, 0));
    P(fsetxattr, G(w.file, L name, L B, 1, 0), X(BAD_FD, L name, L B, 1, 0));
    P(getxattr, G(L w.path, L name, L A, 8), X(NO_PATH, L name, L A, 8));
    P(lgetxattr, G(L w.path, L name, L A, 8), X(NO_PATH, L name, L A, 8));
    P(fgetxattr, G(w.file, L name, L A, 8), X(BAD_FD, L name, L A, 8));
    P(listxattr, G(L w.path, L A, 4096), X(NO_PATH, L A, 4096));
    P(llistxattr, G(L w.path, L A, 4096), X(NO_PATH, L A, 4096));
    P(flistxattr, G(w.file, L A, 4096), X(BAD_FD, L A, 4096));
    P(removexattr, G(L w.path, L name), X(NO_PATH, L name));
    P(lremovexattr, G(L w.path, L name), X(NO_PATH, L name));
    P(fremovexattr, G(w.file, L name), X(BAD_FD, L name));
}

#endif
