/* decode.h: what plugin.c asks of instructions' bytes. */
#ifndef UKPERF_DECODE_H
#define UKPERF_DECODE_H

#include <stddef.h>
#include <stdint.h>

enum ending { ENDS_OTHERWISE, ENDS_IN_CALL, ENDS_IN_RETURN, ENDS_IN_SYSCALL, ENDS_IN_IRET };

enum { NUMBERS = 512, UNKNOWN = NUMBERS - 1 }; /* x86-64's system calls; the last stands for a number nobody knows */

/* How a block ends whose last instruction this is. Far calls and returns count as neither. */
enum ending ending_of(const uint8_t *code, size_t bytes);

/* What an instruction does to eax: its new value where it is a constant (0 to UNKNOWN - 1), UNKNOWN where it may be any,
 * -1 where it stays. What is not known to leave it alone counts as any. */
int eax_after(const uint8_t *code, size_t bytes);

/* A direct jump, how far behind its end it leads. */
int jumps(const uint8_t *code, size_t bytes, int64_t *target);

#endif
