/* init.c: the first process of the linux guest. Says `init`, runs one program, says how it ended, powers off.
 *
 * /ukperf.conf in the initramfs tells what to do, one entry a line, everything after the first space belonging to it
 * (so spaces need no quoting; a line feed cannot be in an entry):
 *     module /virtio.ko    load it; only disk roots need any
 *     root /dev/vda        mount this ext4 file system and run the program there, with /proc, /sys, /dev and /tmp
 *     net ADDRESS/PREFIX GATEWAY   give the one network card this address, and the loopback interface its own
 *     mount proc           mount a kernel file system (proc, sysfs → /sys, devtmpfs → /dev, tmpfs → /tmp)
 *     wait settled         start the program only when nothing else wants the CPU, or a while has passed
 *     arg TEXT             the next word of the program's command line; the first is the program
 *     env NAME=VALUE       its environment
 * The boot workload's has one `arg` and nothing else: what is not asked for is not waited for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#include "../../workloads/common/ukperf.h"

enum { ENTRIES_MAX = 256, CONF_MAX = 65536, ROOT_WAIT_MS = 10000, NET_WAIT_MS = 10000, CANNOT_RUN = 127 };
enum { QUIET_US = 12000, SETTLE_US = 20000000 };

static char conf[CONF_MAX];
static int settles;
static char *arguments[ENTRIES_MAX + 1], *environment[ENTRIES_MAX + 1];

static _Noreturn void power_off(void)
{
    sync();
    tcdrain(STDOUT_FILENO); /* the last frame may still be in the UART driver's buffer */
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static _Noreturn void fail(const char *what, const char *which)
{
    char message[UK_MESSAGE_MAX];
    snprintf(message, sizeof message, "init: %s %s: %s", what, which, strerror(errno));
    uk_error(message);
    power_off();
}

static void load_module(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST))
        fail("cannot load the module", path);
    close(file);
}

static void mount_kernel(const char *type)
{
    const char *at = "/proc";
    if (!strcmp(type, "sysfs"))
        at = "/sys";
    else if (!strcmp(type, "devtmpfs"))
        at = "/dev";
    else if (!strcmp(type, "tmpfs"))
        at = "/tmp";
    mkdir(at, 0755);
    if (mount(type, at, type, 0, NULL) != 0)
        fail("cannot mount", type);
}

/* The disk may turn up a little after its driver; a disk that is read-only is mounted so. */
static void enter_root(const char *device)
{
    mount_kernel("devtmpfs");
    for (int waited = 0; access(device, F_OK) != 0; waited++) {
        if (waited == ROOT_WAIT_MS)
            fail("no disk", device);
        usleep(1000);
    }
    mkdir("/root", 0755);
    if (mount(device, "/root", "ext4", MS_NOATIME, NULL) != 0 &&
        mount(device, "/root", "ext4", MS_NOATIME | MS_RDONLY, NULL) != 0)
        fail("cannot mount", device);
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        fail("cannot enter", device);
    static const char *const types[] = {"proc", "sysfs", "devtmpfs", "tmpfs"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        mount_kernel(types[i]);
}

static struct sockaddr ipv4(const char *address)
{
    struct sockaddr_in inet = {.sin_family = AF_INET};
    struct sockaddr plain;
    if (inet_pton(AF_INET, address, &inet.sin_addr) != 1)
        fail("no address in /ukperf.conf:", address);
    memcpy(&plain, &inet, sizeof plain);
    return plain;
}

static void set_up(int sock, const char *card, const char *address, const char *mask)
{
    struct ifreq ask = {.ifr_name = ""};
    strncpy(ask.ifr_name, card, IFNAMSIZ - 1);
    ask.ifr_addr = ipv4(address);
    if (ioctl(sock, SIOCSIFADDR, &ask) != 0)
        fail("cannot give an address to", card);
    ask.ifr_netmask = ipv4(mask);
    if (ioctl(sock, SIOCSIFNETMASK, &ask) != 0 || ioctl(sock, SIOCGIFFLAGS, &ask) != 0)
        fail("cannot set up", card);
    ask.ifr_flags |= IFF_UP;
    if (ioctl(sock, SIOCSIFFLAGS, &ask) != 0)
        fail("cannot switch on", card);
}

/* The kernel calls its one card eth0. Like a disk it may turn up a little after its driver. */
static void join_network(char *words)
{
    char *gateway = strchr(words, ' '), *prefix = strchr(words, '/');
    errno = EINVAL;
    if (!gateway || !prefix || prefix > gateway)
        fail("no network in /ukperf.conf:", words);
    *gateway++ = 0, *prefix++ = 0;
    int bits = atoi(prefix), sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bits < 1 || bits > 30 || sock < 0)
        fail("cannot set up", "the network");
    for (int waited = 0; if_nametoindex("eth0") == 0; waited++) {
        if (waited == NET_WAIT_MS)
            fail("no network card", "eth0");
        usleep(1000);
    }
    struct in_addr mask = {.s_addr = htonl(~0u << (32 - bits))};
    char text[INET_ADDRSTRLEN];
    set_up(sock, "lo", "127.0.0.1", "255.0.0.0");
    set_up(sock, "eth0", words, inet_ntop(AF_INET, &mask, text, sizeof text));
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_gateway = ipv4(gateway)};
    route.rt_dst = route.rt_genmask = ipv4("0.0.0.0");
    if (ioctl(sock, SIOCADDRT, &route) != 0 && errno != EEXIST)
        fail("no way to", gateway);
    close(sock);
}

static void read_conf(void)
{
    size_t length = 0, argc = 0, envc = 0;
    ssize_t got = 0;
    int file = open("/ukperf.conf", O_RDONLY | O_CLOEXEC);
    while (file >= 0 && length < CONF_MAX - 1 && (got = read(file, conf + length, CONF_MAX - 1 - length)) > 0)
        length += (size_t)got;
    if (file < 0 || got < 0)
        fail("cannot read", "/ukperf.conf");
    close(file);

    for (char *line = conf, *next; *line; line = next) {
        char *end = strchrnul(line, '\n');
        next = *end ? end + 1 : end;
        *end = 0;
        char *value = strchr(line, ' ');
        errno = EINVAL;
        if (!value)
            fail("a line without a value in /ukperf.conf:", line);
        *value++ = 0;
        if (!strcmp(line, "module"))
            load_module(value);
        else if (!strcmp(line, "root"))
            enter_root(value);
        else if (!strcmp(line, "net"))
            join_network(value);
        else if (!strcmp(line, "mount"))
            mount_kernel(value);
        else if (!strcmp(line, "wait") && !strcmp(value, "settled"))
            settles = 1;
        else if (!strcmp(line, "arg") && argc < ENTRIES_MAX)
            arguments[argc++] = value;
        else if (!strcmp(line, "env") && envc < ENTRIES_MAX)
            environment[envc++] = value;
        else
            fail("a line that is not understood in /ukperf.conf:", line);
    }
    errno = EINVAL;
    if (argc == 0)
        fail("no program in", "/ukperf.conf");
}

static int64_t now_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* Kernels put work off until after they have started init: Linux 6.12 tests its cryptography for 1,300 million
 * instructions, by turns with whatever runs. A process of SCHED_IDLE runs only where nobody else wants to, so it has
 * the CPU for QUIET_US on end as soon as that is over. That is more than a tick, for no sooner does the scheduler see that
 * somebody else should run instead. For ever waits nobody: 1 if it was still at work in the end. */
static int settle(void)
{
    struct sched_param none = {0};
    sched_setscheduler(0, SCHED_IDLE, &none);
    int64_t start = now_us(CLOCK_MONOTONIC), began, took;
    int restless;
    do {
        sched_yield();
        int64_t before = now_us(CLOCK_THREAD_CPUTIME_ID);
        began = now_us(CLOCK_MONOTONIC);
        while (now_us(CLOCK_MONOTONIC) - began < QUIET_US)
            ;
        took = now_us(CLOCK_THREAD_CPUTIME_ID) - before;
        began = now_us(CLOCK_MONOTONIC) - began;
        restless = began - took > QUIET_US / 4;
    } while (restless && now_us(CLOCK_MONOTONIC) - start < SETTLE_US);
    sched_setscheduler(0, SCHED_OTHER, &none);
    return restless;
}

static void run(int *status, int *signal)
{
    pid_t child = fork(), ended;
    int how = 0;
    if (child < 0)
        fail("cannot fork for", arguments[0]);
    if (child == 0) {
        execve(arguments[0], arguments, environment);
        char message[UK_MESSAGE_MAX];
        snprintf(message, sizeof message, "init: cannot run %s: %s", arguments[0], strerror(errno));
        uk_error(message);
        _exit(CANNOT_RUN);
    }
    do /* orphans are ours too */
        ended = wait(&how);
    while (ended != child && !(ended < 0 && errno == ECHILD));
    *signal = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    *status = WIFSIGNALED(how) ? 128 + *signal : WEXITSTATUS(how);
}

int main(void)
{
    int status = 0, signal = 0, restless = 0;
    uk_begin("init");
    uk_end();
    if (getpid() != 1) { /* on somebody's real machine it must not go on to reboot(2) */
        uk_error("init: this runs only as the first process of a guest");
        return 2;
    }
    read_conf();
    if (settles)
        restless = settle();
    run(&status, &signal);
    uk_begin("status");
    uk_member_number("status", (uint64_t)status);
    uk_member_number("signal", (uint64_t)signal);
    if (restless)
        uk_member_number("restless", 1);
    uk_end();
    power_off();
}
