/* A call tree whose instructions are known: leaf(n) executes 2 n, and its callers next to nothing. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALONE __attribute__((noipa))

static jmp_buf back;

ALONE void leaf(long n)
{
    __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(n) : : "cc");
}

ALONE void three_times(void)
{
    for (int i = 0; i < 3; i++)
        leaf(100000);
    __asm__ volatile("");
}

ALONE void recursion(int depth)
{
    leaf(10000);
    if (depth > 1)
        recursion(depth - 1);
    __asm__ volatile("");
}

ALONE void through_pointer(void (*volatile function)(long))
{
    function(200000);
    __asm__ volatile("");
}

ALONE void ends_in_leaf(void)
{
    leaf(300000); /* a jump: the compiler's tail call */
}

ALONE void deeper(int depth)
{
    if (depth == 0)
        longjmp(back, 1);
    deeper(depth - 1);
    __asm__ volatile("");
}

ALONE void jumps_out(void)
{
    if (setjmp(back) == 0)
        deeper(6);
    leaf(400000);
    __asm__ volatile("");
}

ALONE void on_signal(int number)
{
    leaf(500000);
    __asm__ volatile("" : "+r"(number));
}

ALONE void *in_thread(void *nothing)
{
    leaf(600000);
    __asm__ volatile("");
    return nothing;
}

int main(void)
{
    pthread_t thread;
    three_times();
    recursion(10);
    through_pointer(leaf);
    ends_in_leaf();
    jumps_out();
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    if (pthread_create(&thread, NULL, in_thread, NULL) != 0 || pthread_join(thread, NULL) != 0)
        abort();
    three_times();
    volatile long number = SYS_getppid; /* in a register, as far as the code beside can tell */
    for (int i = 0; i < 7; i++)
        syscall(number);
    return 0;
}
