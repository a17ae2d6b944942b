/* kernel_table: reads a Linux kernel's own system call table out of its memory, for the test of the prober.
 *
 * /proc/kallsyms says where sys_call_table and the handlers are, /proc/kcore holds the bytes. One `entry` frame a number:
 * nr, handler (`sys_ni_syscall` where there is none), weak: 1
 * for a handler that nobody has defined (COND_SYSCALL: the option is off, and what is called only says ENOSYS). Needs root and a kernel with CONFIG_PROC_KCORE.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "../../workloads/common/ukperf.h"

#define NUMBERS 451
#define HANDLERS_MAX 2048
#define PREFIX "__x64_"

static struct { uint64_t address; bool weak; char name[64]; } handlers[HANDLERS_MAX];
static unsigned handler_count;
static uint64_t table_address, ni_address;

static bool read_symbols(void)
{
    FILE *file = fopen("/proc/kallsyms", "r");
    char line[512], name[256], kind;
    unsigned long long address;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%llx %c %255s", &address, &kind, name) != 3 || !address)
            continue;
        if (strcmp(name, "sys_call_table") == 0)
            table_address = address;
        else if (strcmp(name, PREFIX "sys_ni_syscall") == 0)
            ni_address = address;
        else if (strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 && handler_count < HANDLERS_MAX) {
            handlers[handler_count].address = address;
            handlers[handler_count].weak = kind == 'W' || kind == 'w';
            snprintf(handlers[handler_count++].name, 64, "%.63s", name + sizeof PREFIX - 1);
        }
    }
    if (file)
        fclose(file);
    return table_address && ni_address;
}

static bool read_memory(uint64_t address, void *to, size_t size)
{
    int core = open("/proc/kcore", O_RDONLY);
    Elf64_Ehdr header;
    bool done = false;
    if (core < 0 || pread(core, &header, sizeof header, 0) != sizeof header)
        return false;
    for (unsigned i = 0; i < header.e_phnum && !done; i++) {
        Elf64_Phdr segment;
        if (pread(core, &segment, sizeof segment, (off_t)(header.e_phoff + i * sizeof segment)) != sizeof segment)
            break;
        if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address + size <= segment.p_vaddr + segment.p_memsz)
            done = pread(core, to, size, (off_t)(segment.p_offset + (address - segment.p_vaddr))) == (ssize_t)size;
    }
    close(core);
    return done;
}

static void write_entry(unsigned nr, uint64_t address)
{
    const char *name = address == ni_address ? "sys_ni_syscall" : "?";
    bool weak = false;
    for (unsigned i = 0; i < handler_count; i++)
        if (handlers[i].address == address) {
            name = handlers[i].name;
            weak = handlers[i].weak;
        }
    uk_begin("entry");
    uk_member_number("nr", nr);
    uk_member_text("handler", name, UK_TEXT_MAX);
    uk_member_number("weak", weak);
    uk_end();
}

int main(void)
{
    static uint64_t table[NUMBERS];
    uk_main("kernel_table");
    mkdir("/proc", 0555);
    mount("proc", "/proc", "proc", 0, NULL);
    if (!read_symbols() || !read_memory(table_address, table, sizeof table)) {
        uk_error("the kernel's table cannot be read");
        return uk_exit(1);
    }
    for (unsigned nr = 0; nr < NUMBERS; nr++)
        write_entry(nr, table[nr]);
    return uk_exit(0);
}
