/* Unikraft's system call as a function call: `long __kernel_vsyscall(long nr, long a0, … a5)` in the C ABI, exported by
 * the image that AT_SYSINFO_EHDR points to. The image is the guest's word: every step of the search is bounded. */
#ifndef SYSCALL_COST_VSYSCALL_H
#define SYSCALL_COST_VSYSCALL_H

#include <elf.h>
#include <string.h>
#include <sys/auxv.h>

typedef long vsyscall_fn(long nr, long a0, long a1, long a2, long a3, long a4, long a5);

#define VSYSCALL_MAX_SYMBOLS 4096

/* Why there is no entry, as an errno that says it best. */
enum { VSYSCALL_NO_IMAGE = ENOENT, VSYSCALL_BAD_IMAGE = ENOEXEC, VSYSCALL_NO_SYMBOL = ESRCH };

struct vsyscall_tables {
    const Elf64_Sym *symbols;
    const char *names;
    const uint32_t *hash; /* DT_HASH: nbucket, nchain = number of symbols */
    uint64_t names_size;
};

/* Addresses in a dynamic section are either the link's own or already relocated. */
static const void *vsyscall_at(const char *base, uint64_t link_base, uint64_t value)
{
    return value >= (uint64_t)base ? (const void *)value : base + (value - link_base);
}

static void vsyscall_read_dynamic(const char *base, uint64_t link_base, const Elf64_Dyn *dynamic,
                                  struct vsyscall_tables *tables)
{
    for (unsigned i = 0; i < 128 && dynamic[i].d_tag != DT_NULL; i++) {
        uint64_t value = dynamic[i].d_un.d_val;
        if (dynamic[i].d_tag == DT_SYMTAB)
            tables->symbols = vsyscall_at(base, link_base, value);
        else if (dynamic[i].d_tag == DT_STRTAB)
            tables->names = vsyscall_at(base, link_base, value);
        else if (dynamic[i].d_tag == DT_HASH)
            tables->hash = vsyscall_at(base, link_base, value);
        else if (dynamic[i].d_tag == DT_STRSZ)
            tables->names_size = value;
    }
}

/* Finds the entry: 0 and *entry, or one of the errnos above, negative. */
static long vsyscall_find(vsyscall_fn **entry)
{
    const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!base)
        return -VSYSCALL_NO_IMAGE;
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)base;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phentsize != sizeof(Elf64_Phdr) ||
        header->e_phnum > 64)
        return -VSYSCALL_BAD_IMAGE;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    uint64_t link_base = 0;
    for (unsigned i = header->e_phnum; i-- > 0;)
        if (segments[i].p_type == PT_LOAD)
            link_base = segments[i].p_vaddr - segments[i].p_offset; /* of the first segment, in the end */
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_DYNAMIC)
            dynamic = (const Elf64_Dyn *)(base + segments[i].p_offset);
    struct vsyscall_tables tables = {0};
    if (dynamic)
        vsyscall_read_dynamic(base, link_base, dynamic, &tables);
    if (!tables.symbols || !tables.names)
        return -VSYSCALL_BAD_IMAGE;
    /* Without DT_HASH: linkers put the names right behind the symbols. */
    uint64_t count = tables.hash ? tables.hash[1]
                     : (const char *)tables.symbols < tables.names
                         ? (uint64_t)(tables.names - (const char *)tables.symbols) / sizeof(Elf64_Sym)
                         : 0;
    for (uint64_t i = 0; i < count && i < VSYSCALL_MAX_SYMBOLS; i++) {
        const Elf64_Sym *symbol = &tables.symbols[i];
        if (symbol->st_value && symbol->st_name < tables.names_size &&
            strcmp(tables.names + symbol->st_name, "__kernel_vsyscall") == 0) {
            /* Modulo 2^64: Unikraft's symbols point into the kernel, which lies below the image. */
            *entry = (vsyscall_fn *)((uint64_t)base + (symbol->st_value - link_base));
            return 0;
        }
    }
    return -VSYSCALL_NO_SYMBOL;
}

static vsyscall_fn *vsyscall_entry;

/* The entry must do what the instruction does, or its time says nothing. 0, or a negative errno. */
static long vsyscall_works(void)
{
    long found = vsyscall_find(&vsyscall_entry);
    if (found < 0)
        return found;
    if (vsyscall_entry(UNUSED_NR, 0, 0, 0, 0, 0, 0) != -ENOSYS)
        return -EPROTO;
    bytes_[0] = 1;
    if (vsyscall_entry(SYS_read, world.zero, (long)bytes_, 1, 0, 0, 0) != 1 || bytes_[0] != 0)
        return -ENOSYS;
    return vsyscall_entry(SYS_getuid, 0, 0, 0, 0, 0, 0) == raw0(SYS_getuid) ? 0 : -ENOSYS;
}

CC_BODY_UNCHECKED(vsyscall_noop_loop, vsyscall_entry(UNUSED_NR, 0, 0, 0, 0, 0, 0))
CC_BODY(vsyscall_getppid_loop, vsyscall_entry(SYS_getppid, 0, 0, 0, 0, 0, 0))
CC_BODY(vsyscall_getuid_loop, vsyscall_entry(SYS_getuid, 0, 0, 0, 0, 0, 0))
CC_BODY(vsyscall_read_loop, vsyscall_entry(SYS_read, world.zero, (long)bytes_, 1, 0, 0, 0))
CC_BODY(vsyscall_write_loop, vsyscall_entry(SYS_write, world.null, (long)bytes_, 1, 0, 0, 0))

#define VSYSCALL(name)                                            \
    static long name(uint64_t n, struct cc_span *span)            \
    {                                                             \
        long bad = vsyscall_works();                              \
        return bad < 0 ? bad : name##_loop(n, span);              \
    }

VSYSCALL(vsyscall_noop)
VSYSCALL(vsyscall_getppid)
VSYSCALL(vsyscall_getuid)
VSYSCALL(vsyscall_read)
VSYSCALL(vsyscall_write)

#endif
