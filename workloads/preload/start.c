/* start.c: starts a static program, which no loader brings our library into (preload.c): writes `main`, puts the program
 * into memory itself and jumps to it. Itself and not by execve, since unikernels have none: so the same happens in every
 * guest. When the program ends is the guest's or the host's to tell: it leaves no room for an `exit` frame.
 *
 *     /ukperf/start NAME FOLDER INPUT PROGRAM [ARG…]
 *
 * FOLDER and INPUT: the working folder, and the file of standard input. The program's argv is PROGRAM and the ARGs. On
 * a host that has the guest's files in a folder, all paths begin with that, and the program sees its own without.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "../common/ukperf.h"
#include "../common/gate.h"

#define STARTER "/ukperf/start" /* where it is in every tree (imaging/preload.py) */

enum { PAGE = 4096, OURS = 4, CANNOT_RUN = 127 };

static _Noreturn void fail(const char *what, const char *which)
{
    char message[UK_MESSAGE_MAX];
    snprintf(message, sizeof message, "start: %s %s: %s", what, which, strerror(errno));
    uk_error(message);
    exit(uk_exit(CANNOT_RUN));
}

/* How long the name of the folder is that the guest's files are in: 0 in a guest. */
static size_t root_of(const char *starter)
{
    size_t length = strlen(starter), own = strlen(STARTER);
    return length >= own && strcmp(starter + length - own, STARTER) == 0 ? length - own : 0;
}

static uintptr_t down(uintptr_t address) { return address & ~(uintptr_t)(PAGE - 1); }

static void read_at(int file, void *to, size_t length, off_t at, const char *name)
{
    errno = ENOEXEC; /* of a file that is too short */
    for (ssize_t got; length > 0; to = (char *)to + got, at += got, length -= (size_t)got)
        if ((got = pread(file, to, length, at)) <= 0)
            fail("cannot read", name);
}

/* The segments at their addresses, or in one piece where the program lies anywhere. Returns what its addresses are off. */
static uintptr_t load(int file, const Elf64_Ehdr *head, const Elf64_Phdr *segments, const char *name)
{
    uintptr_t low = UINTPTR_MAX, high = 0, bias = 0;
    for (int i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD) {
            uintptr_t end = segments[i].p_vaddr + segments[i].p_memsz;
            low = segments[i].p_vaddr < low ? segments[i].p_vaddr : low;
            high = end > high ? end : high;
        }
    int fixed = head->e_type == ET_EXEC ? MAP_FIXED_NOREPLACE : 0;
    void *where = mmap((void *)(fixed ? down(low) : 0), high - down(low), PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    if (where == MAP_FAILED || (fixed && (uintptr_t)where != down(low)))
        fail("there is no room where it must lie for", name);
    bias = (uintptr_t)where - down(low);
    for (int i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD)
            read_at(file, (void *)(bias + segments[i].p_vaddr), segments[i].p_filesz, (off_t)segments[i].p_offset, name);
    return bias;
}

/* What the kernel would put on the stack (System V ABI for AMD64, 3.4.1), with our own auxiliary vector, but for what is
 * said of the program; then the jump. */
static _Noreturn void enter(char **argv, char **environment, const Elf64_Ehdr *head, uintptr_t bias, uintptr_t table)
{
    size_t argc = 0, envc = 0, auxc = 0;
    while (argv[argc])
        argc++;
    while (environment[envc])
        envc++;
    Elf64_auxv_t *ours = (Elf64_auxv_t *)(environment + envc + 1);
    while (ours[auxc++].a_type != AT_NULL)
        ;
    size_t words = 1 + argc + 1 + envc + 1 + 2 * auxc;
    uintptr_t *stack = alloca((words + 2) * sizeof *stack), *to = (uintptr_t *)(((uintptr_t)stack + 15) & ~(uintptr_t)15);
    uintptr_t *top = to;
    *to++ = argc;
    for (size_t i = 0; i <= argc; i++)
        *to++ = (uintptr_t)argv[i];
    for (size_t i = 0; i <= envc; i++)
        *to++ = (uintptr_t)environment[i];
    for (size_t i = 0; i < auxc; i++) {
        uintptr_t value = ours[i].a_un.a_val;
        switch (ours[i].a_type) {
        case AT_PHDR: value = table; break;
        case AT_PHENT: value = sizeof(Elf64_Phdr); break;
        case AT_PHNUM: value = head->e_phnum; break;
        case AT_ENTRY: value = bias + head->e_entry; break;
        case AT_BASE: value = 0; break;
        case AT_EXECFN: value = (uintptr_t)argv[0]; break;
        }
        *to++ = ours[i].a_type;
        *to++ = value;
    }
    __asm__ volatile("mov %0, %%rsp\n\txor %%edx, %%edx\n\txor %%ebp, %%ebp\n\tjmp *%1"
                     :
                     : "r"(top), "r"(bias + head->e_entry)
                     : "rdx", "memory");
    __builtin_unreachable();
}

int main(int argc, char **argv, char **environment)
{
    uk_main(argc > 1 ? argv[1] : "start");
    errno = EINVAL;
    if (argc < OURS + 1)
        fail("no program in", "its arguments");
    const char *name = argv[OURS];
    static Elf64_Ehdr head;
    static Elf64_Phdr segments[64];
    int file = open(name, O_RDONLY);
    if (file < 0)
        fail("cannot open", name);
    read_at(file, &head, sizeof head, 0, name);
    errno = ENOEXEC;
    if (head.e_phnum > sizeof segments / sizeof *segments || head.e_phentsize != sizeof *segments)
        fail("cannot load", name);
    read_at(file, segments, head.e_phnum * sizeof *segments, (off_t)head.e_phoff, name);
    uintptr_t bias = load(file, &head, segments, name), table = 0;
    for (int i = 0; i < head.e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_offset <= head.e_phoff &&
            head.e_phoff < segments[i].p_offset + segments[i].p_filesz)
            table = bias + segments[i].p_vaddr + (head.e_phoff - segments[i].p_offset);
    close(file);
    if (chdir(argv[2]) != 0)
        fail("cannot change the directory to", argv[2]);
    int input = open(argv[3], O_RDONLY);
    if (input < 0)
        fail("cannot open", argv[3]);
    if (input != STDIN_FILENO) {
        dup2(input, STDIN_FILENO);
        close(input);
    }
    size_t root = root_of(argv[0]);
    if (strncmp(argv[OURS], argv[0], root) == 0)
        argv[OURS] += root;
    if (getenv(UK_GATE_VARIABLE)) {
        uk_gate();
        uk_phase("opened");
    }
    enter(argv + OURS, environment, &head, bias, table);
}
