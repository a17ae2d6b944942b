/* flow.h: how a machine of one vCPU goes through its code: system calls by number, and call stacks. plugin.c tells of
 * events; nothing here knows QEMU. What is counted is in a mapped file, which ukperf/profile/flows.py reads.
 *
 * A running total of executed instructions is where `flow_total` points to; blocks add to it as they begin. `behind`: of
 * the instructions in the total, those that the event's block has behind the event.
 */
#ifndef UKPERF_FLOW_H
#define UKPERF_FLOW_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the file anew. stacks: call stacks are wanted too. 0, or -1 with a message on stderr. */
int flow_open(const char *path, bool stacks);

uint64_t *flow_total(void);

/* A call instruction at `site` has written its return address at `sp`; a return at `site` has read its own there. */
void flow_call(uint64_t site, uint64_t sp);
void flow_return(uint64_t site, uint64_t sp);

/* A jump at `site` leads to a return that functions share, as those of Linux do. */
void flow_leave(uint64_t site);

/* The code of an interrupt may begin, whose block has `behind` instructions; it ends. */
void flow_interrupt(uint64_t behind);
void flow_interrupted(void);

/* A `syscall` instruction is about to be executed, which is its block's last. */
void flow_syscall(uint64_t site, uint32_t number);

/* The program goes on behind a system call. */
void flow_back(uint64_t behind);

/* An event of a program: from here on it is another window, or the last one still. */
void flow_window(uint64_t site, uint64_t behind, uint32_t window);

#endif
