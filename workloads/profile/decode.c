/* decode.c: see decode.h. 64-bit code; in 32-bit code, which a boot begins with, REX prefixes are instructions of their
 * own, of which none ends a block.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
 */
#include "decode.h"

#include <stdbool.h>

/* An instruction behind its prefixes. */
struct parts {
    const uint8_t *opcode;
    size_t bytes;
    uint8_t rex; /* 0: none */
};

static struct parts parts_of(const uint8_t *code, size_t bytes)
{
    struct parts parts = {code, bytes, 0};
    for (; parts.bytes; parts.opcode++, parts.bytes--) {
        uint8_t byte = *parts.opcode;
        bool other = byte == 0x66 || byte == 0x67 || byte == 0xf2 || byte == 0xf3 || byte == 0x2e || byte == 0x36 ||
                     byte == 0x3e || byte == 0x26 || byte == 0x64 || byte == 0x65;
        if ((byte & 0xf0) == 0x40)
            parts.rex = byte;
        else if (!other)
            break;
    }
    return parts;
}

enum ending ending_of(const uint8_t *code, size_t bytes)
{
    struct parts parts = parts_of(code, bytes);
    const uint8_t *op = parts.opcode;
    if (parts.bytes == 5 && op[0] == 0xe8)
        return ENDS_IN_CALL;
    if (parts.bytes >= 2 && op[0] == 0xff && (op[1] >> 3 & 7) == 2)
        return ENDS_IN_CALL;
    if ((parts.bytes == 1 && op[0] == 0xc3) || (parts.bytes == 3 && op[0] == 0xc2))
        return ENDS_IN_RETURN;
    if (parts.bytes == 2 && op[0] == 0x0f && op[1] == 0x05)
        return ENDS_IN_SYSCALL;
    if (parts.bytes == 1 && op[0] == 0xcf)
        return ENDS_IN_IRET;
    return ENDS_OTHERWISE;
}

int jumps(const uint8_t *code, size_t bytes, int64_t *target)
{
    if (bytes == 5 && code[0] == 0xe9)
        *target = (int32_t)(code[1] | code[2] << 8 | code[3] << 16 | (uint32_t)code[4] << 24);
    else if (bytes == 2 && code[0] == 0xeb)
        *target = (int8_t)code[1];
    else
        return 0;
    return 1;
}

static int constant(const uint8_t *bytes)
{
    uint32_t value = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return value < UNKNOWN ? (int)value : UNKNOWN;
}

/* Of an instruction whose ModRM byte says what it writes: is it eax? reg: it is the register that it names, not the
 * register or memory. */
static bool names_eax(const struct parts *parts, bool reg)
{
    uint8_t modrm = parts->opcode[1];
    if (reg)
        return (modrm >> 3 & 7) == 0 && !(parts->rex & 4);
    return modrm >> 6 == 3 && (modrm & 7) == 0 && !(parts->rex & 1);
}

int eax_after(const uint8_t *code, size_t bytes)
{
    struct parts parts = parts_of(code, bytes);
    if (!parts.bytes)
        return UNKNOWN;
    uint8_t op = parts.opcode[0];
    bool modrm = parts.bytes >= 2;
    if (op >= 0xb8 && op <= 0xbf) { /* mov $imm, register */
        if (op != 0xb8 || parts.rex & 1)
            return -1;
        return parts.bytes == 5 ? constant(parts.opcode + 1) : UNKNOWN;
    }
    if (op == 0xc7 && parts.bytes >= 6) { /* mov $imm32, register or memory */
        if (!names_eax(&parts, false))
            return -1;
        return parts.bytes == 6 ? constant(parts.opcode + 2) : UNKNOWN;
    }
    if ((op == 0x31 || op == 0x33) && modrm && parts.opcode[1] == 0xc0 && (parts.rex & 5) == 0)
        return 0; /* xor %eax, %eax */
    if (op >= 0x50 && op <= 0x57) /* push */
        return -1;
    if (op >= 0x58 && op <= 0x5f) /* pop */
        return op == 0x58 && !(parts.rex & 1) ? UNKNOWN : -1;
    if (op == 0x90)
        return -1;
    if (op == 0xa8 || op == 0xa9 || op == 0x3c || op == 0x3d) /* test, cmp with eax */
        return -1;
    if (!modrm)
        return UNKNOWN;
    if (op < 0x40 && (op & 7) < 4) { /* add, or, adc, sbb, and, sub, xor; cmp writes nothing */
        if (op >= 0x38)
            return -1;
        return names_eax(&parts, (op & 2) != 0) ? UNKNOWN : -1;
    }
    if (op == 0x84 || op == 0x85) /* test */
        return -1;
    if (op == 0x80 || op == 0x81 || op == 0x83 || op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3) || op == 0xc6)
        return names_eax(&parts, false) ? UNKNOWN : -1;
    if (op == 0x88 || op == 0x89) /* mov register, register or memory */
        return names_eax(&parts, false) ? UNKNOWN : -1;
    if (op == 0x8a || op == 0x8b || op == 0x8d || op == 0x63) /* mov, lea, movslq */
        return names_eax(&parts, true) ? UNKNOWN : -1;
    if (op == 0x0f && parts.bytes >= 3) {
        uint8_t second = parts.opcode[1];
        struct parts behind = {parts.opcode + 1, parts.bytes - 1, parts.rex};
        if (second == 0x1e || second == 0x1f) /* endbr64, nop */
            return -1;
        if ((second >= 0xb6 && second <= 0xbf && second != 0xb8 && second != 0xba && second != 0xbb) ||
            (second >= 0x40 && second <= 0x4f)) /* movzx, movsx, bsf, cmov */
            return names_eax(&behind, true) ? UNKNOWN : -1;
        if (second == 0x28 || second == 0x29 || second == 0x10 || second == 0x11 || second == 0x6f || second == 0x7f)
            return -1; /* moves of vector registers */
    }
    return UNKNOWN;
}
