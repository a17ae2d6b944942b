/* load.c: asks a web server on this machine's loopback interface for one path, and tells of each request when it was
 * meant to begin, when it began and when its answer was whole.
 *
 *     load port=8080 path=/ seconds=10 rate=500 arrivals=poisson seed=1 [KEY=VALUE]…
 *     load port=8080 path=/ seconds=10 clients=8
 *
 * rate: open loop. Requests begin at times that are drawn beforehand, whether or not earlier ones were answered, and
 *     latency is counted from those times: a server that stands still is seen by all who would have come meanwhile.
 * clients: closed loop. Each asks again as soon as it is answered.
 * keep: 1 asks again on a connection that was answered, 0 opens one for each request.
 * most: connections at once; an open loop's further requests wait for one, and the wait is part of their latency.
 * timeout_ms: for one answer. body: a file that is sent (POST). address: default 127.0.0.1.
 *
 * On its standard output, at its end or after SIGTERM: struct summary, then struct record for each request, in the order
 * in which they were meant to begin. What the server sends is not trusted: heads and chunks' lengths are bounded, bodies
 * are counted and not kept.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 32768, READ_MAX = 65536, REQUEST_MAX = 1 << 20, CONNECTIONS_MAX = 4096, EVENTS = 256 };
enum { SPARE_NS = 100000000, SPIN_NS = 30000, REFUSED_NS = 5000000, RECORDS_MAX = 20000000, LINE_MAX_BYTES = 1024 };

/* How a request ended. The host knows these numbers (ukperf/workloads/loads.py). */
enum fault { NONE, REFUSED, CLOSED, TIMED_OUT, MALFORMED, UNFINISHED, NOT_SENT };

struct record {
    uint64_t intended, noticed, started, ended; /* ns since the load began */
    uint64_t digest;                            /* of the body */
    uint32_t size;                              /* of the body */
    uint16_t status;
    uint8_t fault, retried;
};

struct summary {
    char magic[8];
    uint64_t records, began; /* CLOCK_MONOTONIC ns */
    uint64_t took, cpu;      /* ns */
    uint64_t connections;    /* that were opened */
};

enum state { FREE, IDLE, CONNECTING, SENDING, READING };
enum part { HEAD, BODY, BODY_TO_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, WHOLE };

struct connection {
    int fd, used; /* used: it has answered before */
    enum state state;
    enum part part;
    int closes; /* the server said that it will */
    uint32_t request, watched; /* watched: the events that are waited for */
    size_t sent, held; /* of the request; in `head` */
    uint64_t left;     /* of the body, or of a chunk */
    char *head;
};

static struct {
    const char *address, *path, *body;
    int port, poisson, keep;
    double rate, seconds;
    uint64_t seed, timeout;
    long clients, most;
} want = {.address = "127.0.0.1", .path = "/", .poisson = 1, .keep = 1, .seconds = 1, .seed = 1, .timeout = 5000000000, .most = 256};

static struct connection connections[CONNECTIONS_MAX];
static struct record *records;
static uint64_t planned, due, begun, done, opened, zero; /* requests: planned, that are due, begun, done */
static uint64_t refused_until;                           /* nobody listens: clients wait a moment */
static char request[REQUEST_MAX + 8192];
static size_t request_size;
static int polled;
static volatile sig_atomic_t told_to_end;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static uint64_t since(void)
{
    return now() - zero;
}

/* ---- when requests begin ---- */

/* splitmix64 (Steele, Lea, Flood 2014): the same times from the same seed, on every machine. */
static uint64_t draw(void)
{
    uint64_t x = want.seed += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* The natural logarithm of 0 < x < 1, to some 1e-14: the same on every machine, whatever its library. */
static double ln(double x)
{
    int exponent = 0;
    for (; x < 0.70710678118654752; x *= 2)
        exponent--;
    double z = (x - 1) / (x + 1), power = z, sum = 0;
    for (int n = 1; n < 20; n += 2, power *= z * z)
        sum += power / n;
    return 2 * sum + exponent * 0.69314718055994531;
}

static void plan_open(void)
{
    double at = 0, end = want.seconds * 1e9, mean = 1e9 / want.rate;
    uint64_t room = (uint64_t)(want.rate * want.seconds * 1.25 + 1000) /* beyond ten standard deviations */;
    errno = EINVAL;
    if (room > RECORDS_MAX || !(records = calloc(room, sizeof *records)))
        fail("too many requests");
    while (planned < room) {
        double apart = want.poisson ? -ln(((double)(draw() >> 11) + 0.5) / 9007199254740992.0) * mean : mean;
        at += planned || want.poisson ? apart : 0;
        if (at >= end)
            break;
        records[planned++].intended = (uint64_t)at;
    }
}

static void another(uint64_t at)
{
    static uint64_t room;
    if (planned == room) {
        room = room ? room * 2 : 65536;
        errno = EINVAL;
        if (room > RECORDS_MAX * 2 || !(records = realloc(records, room * sizeof *records)))
            fail("too many requests");
    }
    records[planned] = (struct record){.intended = at, .noticed = at};
    planned++, due++;
}

/* ---- connections ---- */

static void watch(struct connection *c, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (how == EPOLL_CTL_MOD && c->watched == events)
        return;
    if (epoll_ctl(polled, how, c->fd, &event) != 0)
        fail("epoll_ctl");
    c->watched = events;
}

static void drop(struct connection *c)
{
    if (c->state != FREE) {
        close(c->fd);
        c->state = FREE;
    }
}

static void ended(struct connection *c, enum fault fault)
{
    struct record *r = &records[c->request];
    r->ended = since();
    r->fault = (uint8_t)fault;
    done++;
    if (fault == REFUSED)
        refused_until = r->ended + REFUSED_NS;
}

static int begin_send(struct connection *c);

static int open_connection(struct connection *c, uint32_t which)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)want.port)};
    inet_pton(AF_INET, want.address, &there.sin_addr);
    char *head = c->head;
    *c = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .head = head};
    if (c->fd < 0)
        fail("no more sockets");
    if (!c->head && !(c->head = malloc(HEAD_MAX)))
        fail("no memory");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->request = which, c->state = CONNECTING;
    opened++;
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
    if (connect(c->fd, (struct sockaddr *)&there, sizeof there) == 0)
        return begin_send(c);
    return errno == EINPROGRESS ? 0 : -1;
}

static void failed(struct connection *c, enum fault fault)
{
    struct record *r = &records[c->request];
    int again = c->used && c->part == HEAD && c->held == 0 && !r->retried && (fault == CLOSED || fault == REFUSED);
    drop(c);
    if (!again) {
        ended(c, fault);
        return;
    }
    r->retried = 1; /* the server had closed a connection that was not in use, as it may */
    uint32_t which = c->request;
    if (open_connection(c, which) != 0) {
        drop(c);
        ended(c, REFUSED);
    }
}

static int begin_send(struct connection *c)
{
    c->state = SENDING, c->part = HEAD, c->sent = c->held = 0, c->closes = 0;
    while (c->sent < request_size) {
        ssize_t wrote = send(c->fd, request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
        if (wrote < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(c, EPOLLOUT, EPOLL_CTL_MOD);
            return 0;
        }
        if (wrote < 0)
            return -1;
        c->sent += (size_t)wrote;
    }
    c->state = READING;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    return 0;
}

/* Begin a request on a connection that is free for it; 0 where there is none. */
static int begin(uint32_t which)
{
    struct connection *free_one = NULL, *idle = NULL;
    static long last;
    for (long tried = 0; tried < want.most && !idle; tried++) {
        struct connection *c = &connections[(last + tried) % want.most];
        if (c->state == IDLE)
            idle = c, last = (last + tried) % want.most;
        else if (c->state == FREE && !free_one)
            free_one = c;
    }
    struct connection *c = idle ? idle : free_one;
    if (!c)
        return 0;
    records[which].started = since();
    c->request = which;
    int bad = idle ? begin_send(c) : open_connection(c, which);
    if (bad)
        failed(c, idle ? CLOSED : REFUSED);
    return 1;
}

/* ---- answers ---- */

static const char *header(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (!strncasecmp(line, name, length) && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
    }
    return NULL;
}

static int number(const char *text, int base, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, base);
    return end != text && *text != '-' && *text != '+' && errno == 0 && strchr(" \t\r\n;", *end) && *value < 1ull << 40;
}

/* A whole head, with a NUL behind it: what follows it. -1 for what is none. */
static int read_head(struct connection *c)
{
    struct record *r = &records[c->request];
    const char *head = c->head, *length = header(head, "Content-Length"), *how = header(head, "Transfer-Encoding");
    const char *connection = header(head, "Connection");
    if (strncmp(head, "HTTP/1.", 7) || (head[7] != '0' && head[7] != '1') || head[8] != ' ')
        return -1;
    int status = atoi(head + 9);
    if (status < 100 || status > 599)
        return -1;
    c->held = 0;
    if (status < 200)
        return 0; /* an interim answer: the part stays HEAD */
    r->status = (uint16_t)status;
    r->digest = 0xcbf29ce484222325;
    c->closes = connection ? !strncasecmp(connection, "close", 5) : head[7] == '0';
    if (status == 204 || status == 304)
        c->part = WHOLE;
    else if (how && strcasestr(how, "chunked"))
        c->part = CHUNK_SIZE;
    else if (length) {
        if (!number(length, 10, &c->left))
            return -1;
        c->part = c->left ? BODY : WHOLE;
    } else
        c->part = BODY_TO_CLOSE, c->closes = 1;
    return 0;
}

static void digest(struct record *r, const char *data, size_t size)
{
    uint64_t sum = r->digest; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ (unsigned char)data[i]) * 0x100000001b3;
    r->digest = sum;
    uint64_t total = r->size + size;
    r->size = total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
}

/* One line into `head`; how many bytes were taken of data, -1 where it is too long. *whole: it ended. */
static ssize_t take_line(struct connection *c, const char *data, size_t size, size_t most, int *whole)
{
    const char *end = memchr(data, '\n', size);
    size_t part = end ? (size_t)(end - data) + 1 : size;
    if (c->held + part >= most)
        return -1;
    memcpy(c->head + c->held, data, part);
    c->held += part;
    c->head[c->held] = 0;
    *whole = end != NULL;
    return (ssize_t)part;
}

static ssize_t take_head(struct connection *c, const char *data, size_t size)
{
    int whole;
    size_t line = c->held;
    while (line > 0 && c->head[line - 1] != '\n')
        line--;
    ssize_t took = take_line(c, data, size, HEAD_MAX, &whole);
    if (took < 0 || (whole && memchr(c->head, 0, c->held)))
        return -1;
    if (whole && (!strcmp(c->head + line, "\r\n") || !strcmp(c->head + line, "\n")) && line > 0)
        return read_head(c) == 0 ? took : -1;
    return took;
}

static ssize_t take_chunk_line(struct connection *c, const char *data, size_t size)
{
    int whole;
    ssize_t took = take_line(c, data, size, LINE_MAX_BYTES, &whole);
    if (took < 0 || !whole)
        return took;
    int empty = !strcmp(c->head, "\r\n") || !strcmp(c->head, "\n");
    c->held = 0;
    if (c->part == TRAILER)
        c->part = empty ? WHOLE : TRAILER;
    else if (c->part == CHUNK_END) {
        if (!empty)
            return -1;
        c->part = CHUNK_SIZE;
    } else {
        if (!number(c->head, 16, &c->left))
            return -1;
        c->part = c->left ? CHUNK : TRAILER;
    }
    return took;
}

/* Some bytes of an answer; 0, or -1 where they are none. */
static int take(struct connection *c, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t took;
        if (c->part == WHOLE)
            return -1; /* more than it said */
        if (c->part == HEAD)
            took = take_head(c, data, size);
        else if (c->part == BODY || c->part == CHUNK || c->part == BODY_TO_CLOSE) {
            size_t part = c->part != BODY_TO_CLOSE && c->left < size ? (size_t)c->left : size;
            digest(&records[c->request], data, part);
            c->left -= c->part == BODY_TO_CLOSE ? 0 : part;
            if (c->part != BODY_TO_CLOSE && c->left == 0)
                c->part = c->part == BODY ? WHOLE : CHUNK_END;
            took = (ssize_t)part;
        } else
            took = take_chunk_line(c, data, size);
        if (took < 0)
            return -1;
        data += took, size -= (size_t)took;
    }
    return 0;
}

static void answered(struct connection *c)
{
    ended(c, NONE);
    if (want.keep && !c->closes) {
        c->state = IDLE, c->used = 1;
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
    } else
        drop(c);
}

static void readable(struct connection *c)
{
    static char data[READ_MAX];
    for (;;) {
        ssize_t got = recv(c->fd, data, sizeof data, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (c->state == IDLE) { /* it closed the connection, or says what nobody asked for */
            drop(c);
            return;
        }
        if (got > 0 && take(c, data, (size_t)got) != 0) {
            failed(c, MALFORMED);
            return;
        }
        if (got <= 0 && c->part == BODY_TO_CLOSE && got == 0)
            c->part = WHOLE;
        if (c->part == WHOLE) {
            answered(c);
            return;
        }
        if (got <= 0) {
            failed(c, CLOSED);
            return;
        }
        if ((size_t)got < sizeof data)
            return;
    }
}

static void writable(struct connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (c->state == CONNECTING) {
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            failed(c, REFUSED);
            return;
        }
        if (begin_send(c) != 0)
            failed(c, CLOSED);
        return;
    }
    size_t sent = c->sent;
    ssize_t wrote = send(c->fd, request + sent, request_size - sent, MSG_NOSIGNAL);
    if (wrote < 0 && errno != EAGAIN) {
        failed(c, CLOSED);
        return;
    }
    c->sent += wrote > 0 ? (size_t)wrote : 0;
    if (c->sent == request_size) {
        c->state = READING;
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
    }
}

/* ---- the loop ---- */

static void look_for_late(uint64_t at)
{
    for (long i = 0; i < want.most; i++) {
        struct connection *c = &connections[i];
        if (c->state > IDLE && at > records[c->request].started + want.timeout)
            failed(c, TIMED_OUT);
    }
}

static void begin_due(uint64_t at, uint64_t end)
{
    if (want.clients) {
        while (at < end && at >= refused_until && planned - done < (uint64_t)want.clients)
            another(at);
    } else
        for (; due < planned && records[due].intended <= at; due++)
            records[due].noticed = at;
    while (begun < due && begin((uint32_t)begun))
        begun++;
}

static void wait_and_handle(int timer, uint64_t at, uint64_t end)
{
    uint64_t next = due < planned ? records[due].intended : end > at ? end : at + 10000000;
    next = next < at + 50000000 ? next : at + 50000000; /* to look for what takes too long */
    if (want.clients && refused_until > at && refused_until < next)
        next = refused_until;
    int wait = next <= at + SPIN_NS ? 0 : -1;
    static uint64_t armed; /* to set the clock costs a closed loop more than to wake too early now and then */
    if (wait && (armed <= at || armed > next)) {
        armed = next;
        struct itimerspec alarm = {.it_value = {(time_t)((zero + next) / 1000000000), (long)((zero + next) % 1000000000)}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &alarm, NULL);
    }
    struct epoll_event events[EVENTS];
    int count = epoll_wait(polled, events, EVENTS, wait);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        uint64_t expired;
        if (!c) {
            if (read(timer, &expired, sizeof expired) < 0 && errno != EAGAIN)
                fail("timer");
        } else if (c->state == CONNECTING || c->state == SENDING)
            writable(c);
        else if (c->state != FREE)
            readable(c);
    }
}

static void run(void)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    polled = epoll_create1(EPOLL_CLOEXEC);
    if (timer < 0 || polled < 0 || epoll_ctl(polled, EPOLL_CTL_ADD, timer, &event) != 0)
        fail("epoll");
    uint64_t end = (uint64_t)(want.seconds * 1e9), looked = 0, at;
    zero = now();
    while (!told_to_end && (at = since()) < end + want.timeout + SPARE_NS) {
        begin_due(at, end);
        if (at >= end && due == planned && done == planned)
            break;
        wait_and_handle(timer, at, end);
        if (at > looked + 10000000) {
            look_for_late(at);
            looked = at;
        }
    }
    at = since();
    for (long i = 0; i < want.most; i++)
        if (connections[i].state > IDLE)
            ended(&connections[i], at > records[connections[i].request].started + want.timeout ? TIMED_OUT : UNFINISHED);
    for (uint64_t i = begun; i < planned; i++)
        records[i].fault = NOT_SENT, records[i].ended = at;
}

static void write_all(const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
        ssize_t wrote = write(STDOUT_FILENO, at, size);
        if (wrote < 0)
            fail("cannot write");
        at += wrote, size -= (size_t)wrote;
    }
}

static void on_term(int number_)
{
    (void)number_;
    told_to_end = 1;
}

static void make_request(void)
{
    static char body[REQUEST_MAX];
    size_t size = 0;
    if (want.body) {
        int file = open(want.body, O_RDONLY | O_CLOEXEC);
        ssize_t got = 0;
        while (file >= 0 && size < sizeof body && (got = read(file, body + size, sizeof body - size)) > 0)
            size += (size_t)got;
        if (file < 0 || got < 0)
            fail(want.body);
        close(file);
    }
    int head = snprintf(request, 8192, "%s %s HTTP/1.1\r\nHost: guest\r\nUser-Agent: ukperf\r\nConnection: %s\r\n",
                        want.body ? "POST" : "GET", want.path, want.keep ? "keep-alive" : "close");
    if (want.body && head > 0 && head < 8000)
        head += snprintf(request + head, 8192 - (size_t)head, "Content-Length: %zu\r\n", size);
    errno = ENAMETOOLONG;
    if (head < 0 || head > 8100)
        fail("path");
    memcpy(request + head, "\r\n", 2);
    memcpy(request + head + 2, body, size);
    request_size = (size_t)head + 2 + size;
}

static void read_word(char *word)
{
    char *value = strchr(word, '=');
    errno = EINVAL;
    if (!value)
        fail(word);
    *value++ = 0;
    if (!strcmp(word, "address"))
        want.address = value;
    else if (!strcmp(word, "path"))
        want.path = value;
    else if (!strcmp(word, "body"))
        want.body = value;
    else if (!strcmp(word, "port"))
        want.port = atoi(value);
    else if (!strcmp(word, "arrivals"))
        want.poisson = !strcmp(value, "poisson");
    else if (!strcmp(word, "keep"))
        want.keep = atoi(value);
    else if (!strcmp(word, "rate"))
        want.rate = atof(value);
    else if (!strcmp(word, "seconds"))
        want.seconds = atof(value);
    else if (!strcmp(word, "seed"))
        want.seed = strtoull(value, NULL, 10);
    else if (!strcmp(word, "timeout_ms"))
        want.timeout = strtoull(value, NULL, 10) * 1000000;
    else if (!strcmp(word, "clients"))
        want.clients = atol(value);
    else if (!strcmp(word, "most"))
        want.most = atol(value);
    else
        fail(word);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        read_word(strdup(argv[i])); /* its command line stays what it is known by */
    struct in_addr address;
    errno = EINVAL;
    if (want.clients)
        want.most = want.clients;
    if (want.port < 1 || want.port > 65535 || !(want.seconds > 0 && want.seconds <= 86400) || want.timeout == 0 ||
        want.most < 1 || want.most > CONNECTIONS_MAX || (want.clients > 0) == (want.rate > 0) || want.rate > 1e6 ||
        inet_pton(AF_INET, want.address, &address) != 1)
        fail("port, seconds, timeout_ms, most, and either rate or clients");
    prctl(PR_SET_TIMERSLACK, 1UL);
    signal(SIGTERM, on_term);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    make_request();
    if (!want.clients)
        plan_open();
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    run();
    getrusage(RUSAGE_SELF, &after);
    uint64_t cpu = 0;
    struct timeval times[] = {after.ru_utime, after.ru_stime, before.ru_utime, before.ru_stime};
    for (int i = 0; i < 4; i++) {
        uint64_t ns = (uint64_t)times[i].tv_sec * 1000000000 + (uint64_t)times[i].tv_usec * 1000;
        cpu = i < 2 ? cpu + ns : cpu - ns;
    }
    struct summary summary = {"ukload1", planned, zero, since(), cpu, opened};
    write_all(&summary, sizeof summary);
    write_all(records, planned * sizeof *records);
    return 0;
}
