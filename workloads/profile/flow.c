/* flow.c: see flow.h.
 *
 * Call stacks are followed by the stack pointer alone. A call pushes a frame, where its return address lies; a return
 * pops it. What lies at or below the address that a call writes to is gone, whatever became of it (longjmp, threads that
 * ended). A machine has many stacks; which one it is on, each event's address says: one that is near none of those that
 * are known begins a new one. A node is a chain of call sites; what was executed since the last event belongs to
 * (window, node, site of this event), and whose code the sites are, is found out by who reads the file.
 */
#include "flow.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "decode.h"

enum {
    VERSION = 1,
    HEADER = 4096,
    WINDOWS = 512, /* as plugin.c */
    NODES = 1 << 20,
    LEAVES = 1 << 20,
    DEPTH = 512,
    STACKS = 1024,
    RECENT = 8,     /* a power of two */
    INTERRUPTS = 8, /* one in the other */
};
#define KERNEL_HALF (UINT64_C(1) << 63)
#define GAP_KERNEL 4096 /* bytes: kernels' frames are smaller, and their stacks lie close to each other */
#define GAP 16384
enum { ROOT, TRUNCATED, FIRST };                             /* nodes */
enum { EXECVE = 59, EXIT = 60, EXIT_GROUP = 231, EXECVEAT = 322 }; /* system calls after which a stack is another one */

struct header {
    char magic[8];
    uint32_t version, header_bytes;
    uint32_t windows_room, numbers, nodes_room, leaves_room;
    uint32_t windows, nodes, leaves; /* in use */
    uint32_t more;                   /* for who reads it */
    uint64_t total;                  /* instructions */
    uint64_t settled;                /* of those, in nodes or truncated */
    uint64_t cut;                    /* calls deeper than frames are kept */
    uint64_t stacks;                 /* that were begun */
};
struct tally {
    uint64_t times, instructions;
};
struct node {
    uint64_t site;
    uint32_t parent, window; /* window: in which it came up first */
};
struct leaf {
    uint64_t site, instructions, times; /* times: events there */
    uint32_t node, window;
};
_Static_assert(sizeof(struct header) == 80 && sizeof(struct node) == 16 && sizeof(struct leaf) == 32,
               "the layout of flows.py");

struct frame {
    uint64_t sp;
    uint32_t node;
};
struct stack {
    struct frame *frame; /* [DEPTH], the outermost first; null: never used */
    uint32_t depth;
    uint32_t root;      /* whose call the outermost frame is */
    uint64_t low, high; /* where its frames lie; with none, its last event */
};

static struct header *header;
static struct tally *calls;   /* [WINDOWS][NUMBERS] */
static uint64_t *truncated;   /* [WINDOWS]: instructions whose node or leaf found no place */
static struct node *node;     /* [NODES] */
static struct leaf *leaf;     /* [LEAVES] */
static uint32_t *node_index, *leaf_index; /* hash → node, leaf + 1; 0: free */
static uint32_t window;

static bool in_call; /* a system call's instructions are counted, of `number`, those from `since` on not yet */
static uint32_t number;
static uint64_t since;

static bool following; /* call stacks */
static struct {
    uint32_t stack;
    uint64_t here;
} interrupted[INTERRUPTS]; /* by interrupts that have not ended, the first one first */
static uint32_t interrupts;
static struct stack stack[STACKS];
static uint32_t stacks, current, recent[RECENT], turn;
static uint64_t here;         /* where the code is that goes on after the last return; 0: in what was called last */
static uint64_t leaving;      /* where a function jumped to a return that it shares with others; 0: it did not */
static uint32_t from_program; /* node of a system call that has just begun; ROOT: none */
static uint32_t program;      /* the stack that it was made on */

int flow_open(const char *path, bool with_stacks)
{
    size_t nodes = with_stacks ? NODES : 0, leaves = with_stacks ? LEAVES : 0;
    size_t at_truncated = HEADER, at_calls = at_truncated + WINDOWS * sizeof *truncated;
    size_t at_nodes = at_calls + sizeof *calls * WINDOWS * NUMBERS;
    size_t at_leaves = at_nodes + nodes * sizeof *node, bytes = at_leaves + leaves * sizeof *leaf;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    char *memory = MAP_FAILED;
    if (file >= 0 && ftruncate(file, (off_t)bytes) == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        perror(path);
        return -1;
    }
    close(file);
    header = (struct header *)memory;
    truncated = (uint64_t *)(memory + at_truncated);
    calls = (struct tally *)(memory + at_calls);
    node = (struct node *)(memory + at_nodes);
    leaf = (struct leaf *)(memory + at_leaves);
    if (with_stacks) {
        node_index = calloc(2 * NODES, sizeof *node_index);
        leaf_index = calloc(2 * LEAVES, sizeof *leaf_index);
        stack[0].frame = malloc(DEPTH * sizeof(struct frame));
        if (!node_index || !leaf_index || !stack[0].frame)
            return -1;
        stacks = 1;
    }
    following = with_stacks;
    header->version = VERSION;
    header->header_bytes = HEADER;
    header->windows_room = WINDOWS;
    header->numbers = NUMBERS;
    header->nodes_room = (uint32_t)nodes;
    header->leaves_room = (uint32_t)leaves;
    header->windows = 1;
    header->nodes = with_stacks ? FIRST : 0;
    memcpy(header->magic, "ukflow\0", 8);
    return 0;
}

uint64_t *flow_total(void)
{
    return &header->total;
}

/* ---- nodes and leaves ---- */

static uint64_t hash_of(uint64_t site, uint32_t a, uint32_t b)
{
    uint64_t hash = (site ^ (uint64_t)a << 40 ^ (uint64_t)b << 20) * 0x9e3779b97f4a7c15u;
    return (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9u >> 32;
}

/* The node of calls at `site` in `parent`. */
static uint32_t child(uint32_t parent, uint64_t site)
{
    if (parent == TRUNCATED)
        return TRUNCATED;
    uint32_t i = (uint32_t)hash_of(site, parent, 0) & (2 * NODES - 1), at;
    for (; (at = node_index[i]) != 0; i = (i + 1) & (2 * NODES - 1))
        if (node[at].site == site && node[at].parent == parent)
            return at;
    if (header->nodes == NODES)
        return TRUNCATED;
    at = header->nodes;
    node[at] = (struct node){site, parent, window};
    node_index[i] = at;
    __atomic_store_n(&header->nodes, at + 1, __ATOMIC_RELEASE);
    return at;
}

/* What was executed since the last event, but for `behind` instructions, belongs to `owner` and the code at `site`. */
static void settle(uint32_t owner, uint64_t site, uint64_t behind)
{
    uint64_t more = header->total - behind - header->settled;
    header->settled += more;
    if (owner == TRUNCATED) {
        truncated[window] += more;
        return;
    }
    uint32_t i = (uint32_t)hash_of(site, owner, window + 1) & (2 * LEAVES - 1), at;
    for (; (at = leaf_index[i]) != 0; i = (i + 1) & (2 * LEAVES - 1)) {
        struct leaf *known = &leaf[at - 1];
        if (known->site == site && known->node == owner && known->window == window) {
            known->instructions += more;
            known->times++;
            return;
        }
    }
    if (header->leaves == LEAVES) {
        truncated[window] += more;
        return;
    }
    at = header->leaves;
    leaf[at] = (struct leaf){site, more, 1, owner, window};
    leaf_index[i] = at + 1;
    __atomic_store_n(&header->leaves, at + 1, __ATOMIC_RELEASE);
}

/* ---- stacks ---- */

static uint32_t owner_of(const struct stack *on)
{
    return on->depth ? on->frame[on->depth - 1].node : on->root;
}

/* How far from a stack this is: 0: among its frames; UINT64_MAX: too far to be on it. Of two, one with frames is nearer. */
static uint64_t distance(const struct stack *on, uint64_t sp)
{
    uint64_t away = sp < on->low ? on->low - sp : sp > on->high ? sp - on->high : 0;
    away += !on->depth;
    return away > (sp & KERNEL_HALF ? GAP_KERNEL : GAP) ? UINT64_MAX : away;
}

static uint32_t new_stack(uint64_t sp)
{
    uint32_t at = 0;
    if (stacks < STACKS) {
        struct frame *frame = malloc(DEPTH * sizeof *frame);
        if (frame)
            stack[at = stacks++].frame = frame;
    } else {
        at = (uint32_t)(header->stacks % STACKS); /* the oldest, most likely */
    }
    header->stacks++;
    stack[at].depth = 0;
    stack[at].root = ROOT;
    stack[at].low = stack[at].high = sp;
    return at;
}

/* The stack on which `sp` is, which is the current one then. */
static struct stack *stack_at(uint64_t sp)
{
    if (stack[current].depth && distance(&stack[current], sp) != UINT64_MAX)
        return &stack[current];
    uint32_t best = STACKS;
    uint64_t least = UINT64_MAX, away;
    for (uint32_t i = 0; i < RECENT && least; i++)
        if ((away = distance(&stack[recent[i]], sp)) < least)
            least = away, best = recent[i];
    for (uint32_t i = 0; i < stacks && least; i++)
        if ((away = distance(&stack[i], sp)) < least)
            least = away, best = i;
    if (best == STACKS)
        best = new_stack(sp);
    if (best != current)
        recent[turn++ % RECENT] = current;
    current = best;
    return &stack[current];
}

static void pop(struct stack *on, uint64_t sp)
{
    on->depth--;
    if (on->depth)
        on->low = on->frame[on->depth - 1].sp;
    else
        on->low = on->high = sp;
}

/* Events come to a stack: frames below `least` are gone. The first after a system call says which its kernel's is. */
static void come(struct stack *on, uint64_t least, uint64_t sp)
{
    while (on->depth && on->frame[on->depth - 1].sp < least)
        pop(on, sp);
    if (!on->depth) {
        on->low = on->high = sp;
        if (from_program != ROOT && current != program)
            on->root = from_program;
    }
    from_program = ROOT;
}

void flow_call(uint64_t site, uint64_t sp)
{
    struct stack *on = stack_at(sp);
    come(on, sp + 1, sp);
    uint32_t caller = owner_of(on);
    settle(caller, site, 0);
    here = leaving = 0;
    if (on->depth == DEPTH) {
        header->cut++;
        return;
    }
    on->frame[on->depth++] = (struct frame){sp, child(caller, site)};
    on->low = sp;
    if (on->depth == 1)
        on->high = sp;
}

void flow_return(uint64_t site, uint64_t sp)
{
    struct stack *on = stack_at(sp);
    come(on, sp, sp);
    if (leaving)
        site = leaving;
    leaving = 0;
    uint32_t owner = owner_of(on);
    settle(owner, site, 0);
    here = site;
    if (on->depth && on->frame[on->depth - 1].sp == sp) {
        if (owner >= FIRST)
            here = node[owner].site;
        pop(on, sp);
    }
}

void flow_leave(uint64_t site)
{
    leaving = site;
}

/* What the interrupt came into has its own instructions, and not the interrupt. A guess in some places, as where threads
 * take turns; the next call or return says by its stack where the machine is. */
void flow_interrupt(uint64_t behind)
{
    settle(owner_of(&stack[current]), here, behind);
    if (interrupts < INTERRUPTS) {
        interrupted[interrupts].stack = current;
        interrupted[interrupts++].here = here;
    }
}

void flow_interrupted(void)
{
    settle(owner_of(&stack[current]), here, 0);
    if (interrupts) {
        current = interrupted[--interrupts].stack;
        here = interrupted[interrupts].here;
    }
}

/* ---- system calls ---- */

static void end_call(uint64_t now)
{
    if (in_call)
        calls[window * NUMBERS + number].instructions += now - since;
    since = now;
}

void flow_syscall(uint64_t site, uint32_t which)
{
    end_call(header->total);
    in_call = true;
    number = which < NUMBERS ? which : UNKNOWN;
    calls[window * NUMBERS + number].times++;
    if (!following)
        return;
    interrupts = 0;
    struct stack *on = &stack[current];
    uint32_t owner = owner_of(on);
    settle(owner, site, 0);
    from_program = on->root == ROOT ? child(owner, site) : ROOT; /* or chains would grow without end */
    program = current;
    if (number == EXECVE || number == EXECVEAT || number == EXIT || number == EXIT_GROUP)
        on->depth = 0, on->root = ROOT;
}

void flow_back(uint64_t behind)
{
    if (in_call)
        end_call(header->total - behind);
    in_call = false;
    if (!following)
        return;
    struct stack *on = &stack[current];
    if (current != program) {
        settle(owner_of(on), here, behind);
        if (!on->depth)
            on->root = ROOT;
        current = program;
    }
    from_program = ROOT;
}

void flow_window(uint64_t site, uint64_t behind, uint32_t next)
{
    end_call(header->total - behind);
    if (following)
        settle(owner_of(&stack[current]), site, behind);
    window = next < WINDOWS ? next : WINDOWS - 1;
    header->windows = window + 1;
}
