/* rawsyscall.h: the `syscall` instruction, inlined, with nothing around it. Results as the kernel gives them: -errno. */
#ifndef UKPERF_RAWSYSCALL_H
#define UKPERF_RAWSYSCALL_H

#define RAW_INLINE static inline __attribute__((always_inline, unused))
#define RAW_CLOBBER "rcx", "r11", "memory"

RAW_INLINE long raw0(long nr)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr) : RAW_CLOBBER);
    return result;
}

RAW_INLINE long raw1(long nr, long a)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a) : RAW_CLOBBER);
    return result;
}

RAW_INLINE long raw2(long nr, long a, long b)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b) : RAW_CLOBBER);
    return result;
}

RAW_INLINE long raw3(long nr, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c) : RAW_CLOBBER);
    return result;
}

RAW_INLINE long raw4(long nr, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : RAW_CLOBBER);
    return result;
}

RAW_INLINE long raw6(long nr, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : RAW_CLOBBER);
    return result;
}

#endif
