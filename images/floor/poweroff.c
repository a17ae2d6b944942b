/* poweroff.c: four ways to go away, the proper ones first; each does nothing where its device is not there.
 * A Xen domain goes by xen.c's way, before any of these.
 */
#include "floor.h"

enum {
    FADT_DSDT = 40,
    FADT_PM1A_CONTROL = 64,
    FADT_FLAGS = 112,
    FADT_SLEEP_CONTROL = 244, /* a generic address: space id, three bytes, 64-bit address */
    FADT_SLEEP_END = 256,
    HARDWARE_REDUCED = 1 << 20,
    PM1_SLEEP_ENABLE = 1 << 13,
    GED_SLEEP_ENABLE = 1 << 5,
    TABLE_MAX = 1 << 20,
    DEBUG_EXIT = 0x501,
};

static uint32_t read32(uint64_t at) { return *(const volatile uint32_t *)at; }
static uint64_t read64(uint64_t at) { return read32(at) | (uint64_t)read32(at + 4) << 32; }
static uint8_t read8(uint64_t at) { return *(const volatile uint8_t *)at; }

static uint32_t signature(const char *text)
{
    return (uint32_t)text[0] | (uint32_t)text[1] << 8 | (uint32_t)text[2] << 16 | (uint32_t)text[3] << 24;
}

static uint32_t table_length(uint64_t table) { return read32(table + 4) < TABLE_MAX ? read32(table + 4) : 0; }

/* RSDP → XSDT (ACPI 2) or RSDT → the table with that signature; 0: none. */
static uint64_t find_table(uint64_t rsdp, const char *name)
{
    if (!rsdp || read64(rsdp) != 0x2052545020445352) /* "RSD PTR " */
        return 0;
    int wide = read8(rsdp + 15) >= 2 && read64(rsdp + 24);
    uint64_t root = wide ? read64(rsdp + 24) : read32(rsdp + 16);
    uint32_t end = table_length(root);
    for (uint32_t at = 36; at + (wide ? 8 : 4) <= end; at += wide ? 8 : 4) {
        uint64_t table = wide ? read64(root + at) : read32(root + at);
        if (read32(table) == signature(name))
            return table;
    }
    return 0;
}

/* The sleep type of S5 is the first element of the package \_S5 in the DSDT: name, PackageOp, length (1…4 bytes), count,
 * then a byte with its prefix 0x0a, or the constants 0 and 1 themselves. */
static int s5_type(uint64_t dsdt)
{
    uint32_t length = table_length(dsdt);
    for (uint32_t at = 36; at + 12 <= length; at++) {
        if (read32(dsdt + at) != signature("_S5_") || read8(dsdt + at + 4) != 0x12)
            continue;
        uint64_t element = dsdt + at + 6 + (read8(dsdt + at + 5) >> 6) + 1;
        return read8(element) == 0x0a ? read8(element + 1) : read8(element);
    }
    return -1;
}

static void acpi_off(uint64_t rsdp)
{
    uint64_t fadt = find_table(rsdp, "FACP");
    int type = fadt ? s5_type(read32(fadt + FADT_DSDT)) : -1;
    if (type < 0)
        return;
    if (!(read32(fadt + FADT_FLAGS) & HARDWARE_REDUCED)) /* q35 */
        outw((uint16_t)read32(fadt + FADT_PM1A_CONTROL), (uint16_t)(type << 10 | PM1_SLEEP_ENABLE));
    else if (table_length(fadt) >= FADT_SLEEP_END) /* microvm: the generic event device */
        *(volatile uint8_t *)read64(fadt + FADT_SLEEP_CONTROL + 4) = (uint8_t)(type << 2 | GED_SLEEP_ENABLE);
}

/* q35 without ACPI tables: its power management block is where firmware put it in the LPC bridge's PMBASE. */
static void ich9_off(void)
{
    enum { ADDRESS = 0xcf8, DATA = 0xcfc, LPC = 0x80000000 | 0x1f << 11, ICH9 = 0x29188086, PMBASE = 0x40 };
    outl(ADDRESS, LPC);
    if (inl(DATA) != ICH9)
        return;
    outl(ADDRESS, LPC | PMBASE);
    outw((uint16_t)((inl(DATA) & 0xff80) + 4), PM1_SLEEP_ENABLE); /* S5 has type 0 there */
}

void power_off(uint64_t rsdp, int status)
{
    acpi_off(rsdp);
    ich9_off();
    outl(DEBUG_EXIT, (uint32_t)status); /* isa-debug-exit, where the VMM has one: ends with (status << 1) | 1 */
    triple_fault();                     /* a reset: the VMM ends under -no-reboot */
}
