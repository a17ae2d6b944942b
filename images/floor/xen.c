/* xen.c: console and power-off of a Xen PVH domain (xen/include/public: io/console.h, hvm/params.h, sched.h).
 *
 * The console is a ring in a page that the toolstack gave to the domain. We put bytes in and send an event;
 * xenconsoled in dom0 takes them out. No interrupt, no xenstore and no memory of our own are needed for it.
 */
#include "xen.h"

#include <stdint.h>

enum {
    CPUID_BASE = 0x40000000,
    CPUID_END = 0x40000200,
    CPUID_STEP = 0x100,
    SCHED_OP = 29,
    SCHED_YIELD = 0,
    SCHED_SHUTDOWN = 2,
    SHUTDOWN_POWEROFF = 0,
    EVENT_CHANNEL_OP = 32,
    EVENT_SEND = 4,
    HVM_OP = 34,
    HVM_GET_PARAM = 1,
    PARAM_CONSOLE_PFN = 17,
    PARAM_CONSOLE_EVENT = 18,
    DOMID_SELF = 0x7ff0,
    HYPERCALL_BYTES = 32,
    OUT_SIZE = 2048,
    PATIENCE = 20 * 1000 * 1000, /* turns of waiting for dom0: a dead xenconsoled must not keep the domain alive */
};

struct ring {
    char in[1024];
    char out[OUT_SIZE];
    uint32_t in_consumed, in_produced;
    volatile uint32_t out_consumed, out_produced;
};

static char hypercall_page[4096] __attribute__((aligned(4096)));
static struct ring *ring;
static uint32_t event;

static void cpuid(uint32_t leaf, uint32_t out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "0"(leaf), "2"(0));
}

/* The hypervisor fills the page with one entry of 32 bytes for each number: vmcall or vmmcall, as the CPU has it. */
static long hypercall(unsigned number, uint64_t first, void *second)
{
    long result;
    uint64_t a = first;
    void *b = second;
    __asm__ volatile("call *%3"
                     : "=a"(result), "+D"(a), "+S"(b)
                     : "r"(&hypercall_page[number * HYPERCALL_BYTES])
                     : "memory", "rdx", "rcx", "r8", "r9", "r10", "r11");
    return result;
}

static uint64_t parameter(uint32_t index)
{
    struct {
        uint16_t domain;
        uint32_t index;
        uint64_t value;
    } asked = {DOMID_SELF, index, 0};
    return hypercall(HVM_OP, HVM_GET_PARAM, &asked) == 0 ? asked.value : 0;
}

/* Xen's leaves are moved up by one step where it shows Viridian's as well. */
int xen_start(void)
{
    uint32_t leaf[4];
    for (uint32_t base = CPUID_BASE; base < CPUID_END; base += CPUID_STEP) {
        cpuid(base, leaf);
        if (leaf[1] != 0x566e6558 || leaf[2] != 0x65584d4d || leaf[3] != 0x4d4d566e) /* "XenVMMXenVMM" */
            continue;
        cpuid(base + 2, leaf); /* ebx: the MSR that says where the hypercall page shall be */
        __asm__ volatile("wrmsr" : : "c"(leaf[1]), "a"((uint32_t)(uintptr_t)hypercall_page), "d"(0) : "memory");
        event = (uint32_t)parameter(PARAM_CONSOLE_EVENT);
        ring = (struct ring *)(parameter(PARAM_CONSOLE_PFN) << 12);
        return ring != 0;
    }
    return 0;
}

/* Waits until at most `pending` bytes are left in the ring; 0: dom0 does not read. */
static int drained_to(uint32_t pending)
{
    for (uint32_t turn = 0; ring->out_produced - ring->out_consumed > pending; turn++) {
        if (turn == PATIENCE)
            return 0;
        hypercall(SCHED_OP, SCHED_YIELD, 0);
    }
    return 1;
}

static void notify(void)
{
    hypercall(EVENT_CHANNEL_OP, EVENT_SEND, &event);
}

void xen_write(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (ring->out_produced - ring->out_consumed >= OUT_SIZE) {
            notify();
            if (!drained_to(OUT_SIZE - 1))
                return;
        }
        ring->out[ring->out_produced % OUT_SIZE] = bytes[i];
        __asm__ volatile("" : : : "memory"); /* x86 keeps the order of stores; the compiler must too */
        ring->out_produced++;
    }
    notify();
}

void xen_power_off(void)
{
    uint32_t reason = SHUTDOWN_POWEROFF;
    drained_to(0);
    hypercall(SCHED_OP, SCHED_SHUTDOWN, &reason);
}
