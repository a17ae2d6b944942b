/* Probes of sockets, events, timers and asynchronous I/O. */
#ifndef SYSCALLS_PROBES_IPC_H
#define SYSCALLS_PROBES_IPC_H

#include <linux/aio_abi.h>
#include <linux/io_uring.h>

#include "probe.h"

/* ---- sockets ---- */

static struct msghdr msg_out = {.msg_iov = &iov_b, .msg_iovlen = 1}, msg_in = {.msg_iov = &iov_a, .msg_iovlen = 1};
static struct mmsghdr mmsg_out, mmsg_in;
static int one_ = 1, length_ = 64;
static struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "\0ukp-probe"};
#define LOCAL_LENGTH 12 /* family, NUL, nine letters: a name that is no file */

/* Calls that need a listener and a client: how far to go before the call under test. */
enum stage { BIND, LISTEN, CONNECT, ACCEPT, ACCEPT4, NAME, PEER };

static long socket_stage(enum stage stage)
{
    long server = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    long client = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    length_ = sizeof A;
    long result = CALL(bind, server, L &local, LOCAL_LENGTH);
    if (stage == NAME)
        result = CALL(getsockname, server, L A, L &length_);
    else if (stage == PEER)
        result = CALL(getpeername, w.pair_a, L A, L &length_);
    else if (stage > BIND) {
        result = CALL(listen, server, 1);
        if (stage > LISTEN)
            result = CALL(connect, client, L &local, LOCAL_LENGTH);
        if (stage == ACCEPT)
            result = CALL(accept, server, 0, 0);
        else if (stage == ACCEPT4)
            result = CALL(accept4, server, 0, 0, 0);
    }
    CALL(close, server);
    CALL(close, client);
    return result;
}

static long run_bind(void) { return socket_stage(BIND); }
static long run_listen(void) { return socket_stage(LISTEN); }
static long run_connect(void) { return socket_stage(CONNECT); }
static long run_accept(void) { return socket_stage(ACCEPT); }
static long run_accept4(void) { return socket_stage(ACCEPT4); }
static long run_getsockname(void) { return socket_stage(NAME); }
static long run_getpeername(void) { return socket_stage(PEER); }

static long run_socket(void)
{
    long fd = CALL(socket, AF_UNIX, SOCK_STREAM, 0);
    return fd >= 0 || fd == -ENOSYS ? fd : CALL(socket, AF_INET, SOCK_DGRAM, 0);
}

static long run_shutdown(void)
{
    int fds[2] = {-1, -1};
    CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, L fds);
    long result = CALL(shutdown, fds[0], SHUT_RDWR);
    return CALL(close, fds[0]), CALL(close, fds[1]), result;
}

static void fill_sockets(void)
{
    mmsg_out.msg_hdr = msg_out, mmsg_in.msg_hdr = msg_in;
    P(socket, RUN(run_socket), PROOF(proof_fd), X(999, SOCK_STREAM, 0));
    P(socketpair, G(AF_UNIX, SOCK_STREAM, 0, L A), OUT(8), SEEN(proof_pipe), X(999, SOCK_STREAM, 0, L A));
    P(bind, RUN(run_bind), X(BAD_FD, L &local, LOCAL_LENGTH));
    P(listen, RUN(run_listen), X(BAD_FD, 1));
    P(connect, RUN(run_connect), X(BAD_FD, L &local, LOCAL_LENGTH));
    P(accept, RUN(run_accept), PROOF(proof_fd), X(BAD_FD, 0, 0));
    P(accept4, RUN(run_accept4), PROOF(proof_fd), X(BAD_FD, 0, 0, 0));
    P(getsockname, RUN(run_getsockname), OUT(2), X(BAD_FD, L A, L &length_));
    P(getpeername, RUN(run_getpeername), OUT(2), X(BAD_FD, L A, L &length_));
    P(sendto, G(w.pair_a, L B, 1, MSG_DONTWAIT, 0, 0), PROOF(proof_one), X(BAD_FD, L B, 1, MSG_DONTWAIT, 0, 0));
    P(recvfrom, G(w.pair_b, L A, 1, MSG_DONTWAIT, 0, 0), OUT(1), PROOF(proof_one),
      X(BAD_FD, L A, 1, MSG_DONTWAIT, 0, 0));
    P(sendmsg, G(w.pair_a, L &msg_out, MSG_DONTWAIT), PROOF(proof_one), X(BAD_FD, L &msg_out, MSG_DONTWAIT));
    P(recvmsg, G(w.pair_b, L &msg_in, MSG_DONTWAIT), OUT(1), PROOF(proof_one), X(BAD_FD, L &msg_in, MSG_DONTWAIT));
    P(sendmmsg, G(w.pair_a, L &mmsg_out, 1, MSG_DONTWAIT), PROOF(proof_one), X(BAD_FD, L &mmsg_out, 1, MSG_DONTWAIT));
    P(recvmmsg, G(w.pair_b, L &mmsg_in, 1, MSG_DONTWAIT, 0), OUT(1), PROOF(proof_one),
      X(BAD_FD, L &mmsg_in, 1, MSG_DONTWAIT, 0));
    P(shutdown, RUN(run_shutdown), X(BAD_FD, SHUT_RDWR));
    P(setsockopt, G(w.pair_a, SOL_SOCKET, SO_KEEPALIVE, L &one_, 4), X(BAD_FD, SOL_SOCKET, SO_KEEPALIVE, L &one_, 4));
    P(getsockopt, G(w.pair_a, SOL_SOCKET, SO_TYPE, L A, L &length_), OUT(4), X(BAD_FD, SOL_SOCKET, SO_TYPE, L A, L &length_));
}

/* ---- events ---- */

static struct epoll_event watch = {.events = EPOLLIN};

static long run_inotify_rm(void)
{
    long id = CALL(inotify_add_watch, w.inotify, L w.base, 0x100);
    return CALL(inotify_rm_watch, w.inotify, id);
}

static void fill_events(void)
{
    P(epoll_create, G(1), PROOF(proof_fd));
    P(epoll_create1, G(0), PROOF(proof_fd));
    P(epoll_ctl, G(w.epoll, EPOLL_CTL_ADD, w.pipe_r, L &watch), X(BAD_FD, EPOLL_CTL_ADD, w.pipe_r, L &watch));
    P(epoll_wait, G(w.epoll, L A, 1, 0), X(BAD_FD, L A, 1, 0));
    P(epoll_pwait, G(w.epoll, L A, 1, 0, 0, 8), X(BAD_FD, L A, 1, 0, 0, 8));
    P(epoll_pwait2, G(w.epoll, L A, 1, L B, 0, 8), X(BAD_FD, L A, 1, L B, 0, 8));
    P(epoll_ctl_old, G(0));
    P(epoll_wait_old, G(0));
    P(eventfd, G(0), PROOF(proof_fd));
    P(eventfd2, G(0, 0), PROOF(proof_fd));
    P(inotify_init, G(0), PROOF(proof_fd));
    P(inotify_init1, G(0), PROOF(proof_fd));
    P(inotify_add_watch, G(w.inotify, L w.base, 0x100), X(BAD_FD, L w.base, 0x100));
    P(inotify_rm_watch, RUN(run_inotify_rm), X(BAD_FD, 1));
    P(fanotify_init, G(0, 0), PROOF(proof_fd));
    P(fanotify_mark, G(BAD_FD, 1, 1, AT_FDCWD, L w.path), X(BAD_FD, 1, 1, AT_FDCWD, L w.path));
}

/* ---- timers ---- */

static struct itimerspec far_timerfd = {.it_value = {.tv_sec = 1000}};

static bool timer_ran_out(void)
{
    uint64_t times = 0;
    return CALL(read, w.timer, L &times, 8) == 8 && times > 0;
}

static const char *proof_timerfd(long result)
{
    static const struct itimerspec in_10_ms = {.it_value = {.tv_nsec = 10000000}};
    struct itimerspec left = {0};
    (void)result;
    bool asked = CALL(timerfd_gettime, w.timer, L &left) == 0;
    if (asked && left.it_value.tv_sec < 900)
        return "a timer set for 1,000 s is not there";
    CALL(timerfd_settime, w.timer, 0, L &in_10_ms, 0);
    bool came = soon(timer_ran_out);
    CALL(timerfd_settime, w.timer, 0, L B, 0);
    return came ? NULL : "a timer set for 10 ms never ran out";
}

static const struct timespec two_ms = {.tv_nsec = 2000000};
static long slept_from;

static long monotonic_ns(void)
{
    struct timespec now = {0};
    return clock_gettime(CLOCK_MONOTONIC, &now) == 0 ? now.tv_sec * 1000000000 + now.tv_nsec : 0;
}

static long run_nanosleep(void) { return slept_from = monotonic_ns(), CALL(nanosleep, L &two_ms, 0); }

static long run_clock_nanosleep(void)
{
    slept_from = monotonic_ns();
    return CALL(clock_nanosleep, CLOCK_MONOTONIC, 0, L &two_ms, 0);
}

static const char *proof_slept(long result)
{
    (void)result;
    return monotonic_ns() - slept_from < two_ms.tv_nsec ? "it came back before the time was over" : NULL;
}

static void fill_timers(void)
{
    P(nanosleep, RUN(run_nanosleep), SEEN(proof_slept));
    P(clock_nanosleep, RUN(run_clock_nanosleep), SEEN(proof_slept));
    P(gettimeofday, G(L A, 0), OUT(16));
    P(settimeofday, G(0, 0), X(L &bad_time, 0));
    P(time, G(0), PROOF(proof_positive));
    P(times, G(L A), OUT(32));
    P(clock_settime, G(999, L B), X(999, L B));
    P(clock_gettime, G(CLOCK_MONOTONIC, L A), OUT(16), X(999, L A));
    P(clock_getres, G(CLOCK_MONOTONIC, L A), OUT(16), X(999, L A));
    P(clock_adjtime, G(CLOCK_REALTIME, L B), X(999, L B));
    P(adjtimex, G(L B));
    P(timerfd_create, G(CLOCK_MONOTONIC, 0), PROOF(proof_fd), X(999, 0));
    P(timerfd_settime, G(w.timer, 0, L &far_timerfd, 0), SEEN(proof_timerfd), X(BAD_FD, 0, L B, 0));
    P(timerfd_gettime, G(w.timer, L A), OUT(32), X(BAD_FD, L A));
}

/* ---- asynchronous I/O ---- */

static const char *proof_aio(long result)
{
    aio_context_t *made = (aio_context_t *)B;
    (void)result;
    return *made ? (CALL(io_destroy, *made), NULL) : "no context";
}

/* The context is an address in the program: one that io_setup did not give could be followed to anywhere. */
static long with_aio(long nr)
{
    aio_context_t made = 0;
    long result = CALL(io_setup, 1, L &made);
    if (result == 0)
        result = nr == SC_io_submit ? CALL(io_submit, made, 0, 0)
                 : nr == SC_io_cancel ? CALL(io_cancel, made, L B, L A)
                 : nr == SC_io_destroy ? CALL(io_destroy, made)
                                       : call6(nr, (long[6]){made, 0, 1, L A, L B, 0});
    else /* a number that no guest maps: all it can say is whether it knows the call */
        result = call6(nr, (long[6]){0, 0, 0, 0, 0, 0});
    if (made && nr != SC_io_destroy)
        CALL(io_destroy, made);
    return result;
}

static long run_io_destroy(void) { return with_aio(SC_io_destroy); }
static long run_io_getevents(void) { return with_aio(SC_io_getevents); }
static long run_io_pgetevents(void) { return with_aio(SC_io_pgetevents); }
static long run_io_submit(void) { return with_aio(SC_io_submit); }
static long run_io_cancel(void) { return with_aio(SC_io_cancel); }

static long with_uring(long nr)
{
    static struct io_uring_params parameters;
    memset(&parameters, 0, sizeof parameters);
    long ring = CALL(io_uring_setup, 1, L &parameters);
    long fd = ring >= 0 ? ring : BAD_FD;
    long result = nr == SC_io_uring_enter ? CALL(io_uring_enter, fd, 0, 0, 0, 0, 0)
                                          : CALL(io_uring_register, fd, IORING_REGISTER_EVENTFD, L &w.event, 1);
    if (ring >= 0)
        CALL(close, ring);
    return result;
}

static long run_uring_enter(void) { return with_uring(SC_io_uring_enter); }
static long run_uring_register(void) { return with_uring(SC_io_uring_register); }

static void fill_aio(void)
{
    P(io_setup, G(1, L B), PROOF(proof_aio), X(0, L B));
    P(io_destroy, RUN(run_io_destroy));
    P(io_getevents, RUN(run_io_getevents));
    P(io_pgetevents, RUN(run_io_pgetevents));
    P(io_submit, RUN(run_io_submit));
    P(io_cancel, RUN(run_io_cancel));
    P(io_uring_setup, G(1, L B), PROOF(proof_fd), X(0, L B));
    P(io_uring_enter, RUN(run_uring_enter), X(BAD_FD, 0, 0, 0, 0, 0));
    P(io_uring_register, RUN(run_uring_register), X(BAD_FD, 0, 0, 0));
}

#endif
