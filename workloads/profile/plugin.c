/* plugin.c: counts for QEMU how often each translation block begins (`ukperf profile`). Loaded by
 *
 *     qemu-system-x86_64 -accel tcg … -plugin plugin.so,counts=COUNTS[,flow=FLOW[,stacks=on]]
 *
 * COUNTS is made anew and mapped shared: whatever ends the guest or QEMU, what was counted is in it. ukperf/profile/
 * counts.py reads it, and says what is where. One file serves all versions of QEMU (qemuplugin.h).
 *
 * One vCPU: the block's own code adds to its counter, in the mapped file. Several: a callback with an atomic addition,
 * since the code's is none. Windows: programs execute a marker with each frame that they write (workloads/common/
 * ukperf.h); there the counts so far go to the window that ends.
 *
 * FLOW: system calls by number, and call stacks if they are wanted, of machines of one vCPU (flow.h).
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../common/marker.h"
#include "decode.h"
#include "flow.h"
#include "qemuplugin.h"

EXPORT int qemu_plugin_version = 1;

/* Before QEMU reads it: the version that this QEMU has. */
__attribute__((constructor)) static void choose_version(void)
{
    if (qemu_plugin_write_register)
        qemu_plugin_version = 5;
    else if (qemu_plugin_read_memory_vaddr)
        qemu_plugin_version = 4;
    else if (!qemu_plugin_register_vcpu_tb_exec_inline)
        qemu_plugin_version = 2;
}

/* ---- the file ---- */

enum { BLOCKS = 1 << 19, WINDOWS = 512, ENTRIES = 7 << 19, CODE = 16, INDEX = 2 * BLOCKS, HEADER = 4096 };
/* 56 MiB, if all of it is used */

#define SLOT_BITS 19
#define MOST ((UINT64_C(1) << (64 - SLOT_BITS)) - 1)

struct header {
    char magic[8];
    uint32_t version, header_bytes;
    uint32_t blocks_room, windows_room, entries_room;
    uint32_t blocks, windows; /* in use; the last window goes on */
    uint32_t vcpus, api, more; /* more: bytes of text behind all else, never the plugin's */
    uint64_t lost;            /* translations that found no slot */
    uint64_t marks;           /* markers executed, also those that began no window any more */
};
struct block {
    uint64_t address;
    uint32_t digest; /* of all its code */
    uint16_t instructions, size;
    uint8_t code[CODE];
};
_Static_assert(sizeof(struct header) <= 128 && sizeof(struct block) == 32, "the layout of counts.py");

static struct header *header;
static struct block *block;             /* [BLOCKS]; [0] stands for the instructions of all that found no slot */
static uint64_t *begun;                 /* [BLOCKS]: how often, in all windows */
static uint64_t *ends;                  /* [WINDOWS]: entries, when that window ended */
static uint64_t *entry;                 /* [ENTRIES]: windows that have ended, one behind the other: count << SLOT_BITS | slot */
static uint64_t *counted;               /* [BLOCKS]: what stands in entries; not in the file */
static uint32_t *slots;                 /* [INDEX]: hash → slot, 0: free */
static struct qemu_plugin_scoreboard *score;
static bool several, flowing, stacked;
static int api;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int map(const char *path)
{
    size_t at_block = HEADER, at_begun = at_block + BLOCKS * sizeof *block;
    size_t at_ends = at_begun + BLOCKS * sizeof *begun, at_entry = at_ends + WINDOWS * sizeof *ends;
    size_t bytes = at_entry + ENTRIES * sizeof *entry;
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
    block = (struct block *)(memory + at_block);
    begun = (uint64_t *)(memory + at_begun);
    ends = (uint64_t *)(memory + at_ends);
    entry = (uint64_t *)(memory + at_entry);
    counted = calloc(BLOCKS, sizeof *counted);
    slots = calloc(INDEX, sizeof *slots);
    return counted && slots ? 0 : -1;
}

/* ---- windows ---- */

/* A marker is about to be executed. data: from its lowest bit on, whether it is its block's first instruction, so that
 * this beginning of the block, counted already, belongs to what comes; the block's slot; how many instructions the block
 * has from the marker on. A window has ended when it is counted among `windows`: what of
 * `begun` stands in none that has is the last one's, whenever QEMU is killed. */
static void marked(unsigned int vcpu, void *data)
{
    (void)vcpu;
    uint64_t at = (uintptr_t)data, slot = at >> 1 & (BLOCKS - 1);
    pthread_mutex_lock(&lock);
    header->marks++;
    uint32_t window = header->windows - 1, used = header->blocks;
    uint64_t next = window ? ends[window - 1] : 0;
    if (window + 1 < WINDOWS && next + 2 * used <= ENTRIES) { /* a count may take two */
        for (uint32_t i = 0; i < used; i++) {
            uint64_t more = __atomic_load_n(&begun[i], __ATOMIC_RELAXED) - counted[i];
            if (i == slot && at & 1 && more)
                more--;
            counted[i] += more;
            for (uint64_t part; more; more -= part) {
                part = more < MOST ? more : MOST;
                entry[next++] = part << SLOT_BITS | i;
            }
        }
        ends[window] = next;
        __atomic_store_n(&header->windows, window + 2, __ATOMIC_RELEASE);
    }
    if (flowing)
        flow_window(block[slot].address, at >> (SLOT_BITS + 1), header->windows - 1);
    pthread_mutex_unlock(&lock);
}

/* ---- blocks ---- */

/* A block's slot, 0 if there is none any more. The same code at the same address, translated again, is the same. */
static uint32_t slot_of(const struct block *new)
{
    uint64_t hash = (new->address ^ (uint64_t)new->digest << 32 ^ new->instructions) * 0x9e3779b97f4a7c15u;
    uint32_t i = (uint32_t)(hash >> 40) & (INDEX - 1), slot;
    for (; (slot = slots[i]) != 0; i = (i + 1) & (INDEX - 1))
        if (memcmp(&block[slot], new, sizeof *new) == 0)
            return slot;
    if (header->blocks == BLOCKS) {
        header->lost++;
        return 0;
    }
    slot = header->blocks;
    block[slot] = *new;
    slots[i] = slot;
    __atomic_store_n(&header->blocks, slot + 1, __ATOMIC_RELEASE);
    return slot;
}

/* Slots for one instruction that is a block: its own, and two behind it that are no blocks, for its reads and writes.
 * Under icount QEMU breaks a block off at an access to a device, executes the instruction again alone, and goes on behind
 * it. That time alone it does not tell plugins that a block begins; but of accesses it does. So where accesses were
 * counted of a block that never began, what followed has been counted twice (counts.py takes it off again). */
static uint32_t slots_alone(const struct block *new)
{
    uint32_t slot = header->blocks;
    if (slot + 3 > BLOCKS / 4 * 3) /* code that changes all the time: it must not take the place of other code */
        return slot_of(new);
    block[slot] = block[slot + 1] = block[slot + 2] = *new;
    block[slot + 1].instructions = block[slot + 2].instructions = 0;
    __atomic_store_n(&header->blocks, slot + 3, __ATOMIC_RELEASE);
    return slot;
}

/* A QEMU with scoreboards adds at the vCPU's place in an array, a plain sum of addresses: with one vCPU, the distance to
 * our counter is the offset. */
static qemu_plugin_u64 scored(uint64_t *counter)
{
    uintptr_t base = (uintptr_t)qemu_plugin_scoreboard_find(score, 0);
    return (qemu_plugin_u64){score, (size_t)((uintptr_t)counter - base)};
}

static void count_accesses(struct qemu_plugin_insn *insn, uint32_t slot)
{
    for (uint32_t i = 1; i <= 2; i++) {
        enum qemu_plugin_mem_rw way = i == 1 ? QEMU_PLUGIN_MEM_R : QEMU_PLUGIN_MEM_W;
        if (score)
            qemu_plugin_register_vcpu_mem_inline_per_vcpu(insn, way, QEMU_PLUGIN_INLINE_ADD_U64,
                                                         scored(&begun[slot + i]), 1);
        else
            qemu_plugin_register_vcpu_mem_inline(insn, way, QEMU_PLUGIN_INLINE_ADD_U64, &begun[slot + i], 1);
    }
}

static void count_one(unsigned int vcpu, void *data)
{
    (void)vcpu;
    __atomic_fetch_add((uint64_t *)data, 1, __ATOMIC_RELAXED);
}

static void count_rest(unsigned int vcpu, void *data)
{
    (void)vcpu;
    __atomic_fetch_add(&begun[0], (uintptr_t)data, __ATOMIC_RELAXED);
}

/* Adds `more` at each beginning of tb; with one vCPU. */
static void add_at(struct qemu_plugin_tb *tb, uint64_t *counter, uint64_t more)
{
    if (score)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, scored(counter), more);
    else
        qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, counter, more);
}

/* Adds `more` to begun[slot] at each beginning of tb. */
static void count(struct qemu_plugin_tb *tb, uint32_t slot, uint64_t more)
{
    if (several && slot == 0) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, count_rest, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)more);
    } else if (several) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, count_one, QEMU_PLUGIN_CB_NO_REGS, &begun[slot]);
    } else {
        add_at(tb, &begun[slot], more);
    }
}

static size_t bytes_of(const struct qemu_plugin_insn *insn, uint8_t bytes[16])
{
    size_t size = qemu_plugin_insn_size(insn);
    if (size > 16)
        size = 16;
    void (*volatile data)(void) = qemu_plugin_insn_data; /* volatile: or the compiler sees that the types differ */
    if (api >= 3)
        return ((insn_data_3)data)(insn, bytes, size);
    memcpy(bytes, ((insn_data_1)data)(insn), size);
    return size;
}

/* rep movs, stos and their like: a turn is a block, and there are many millions. Devices are seldom accessed so. */
static bool repeats(const uint8_t code[CODE])
{
    uint8_t operation = code[1] >= 0x40 && code[1] <= 0x4f ? code[2] : code[1]; /* behind a REX prefix */
    return (code[0] == 0xf2 || code[0] == 0xf3) && operation >= 0xa4 && operation <= 0xaf;
}

/* ---- flow ---- */

enum { PLACES = 8192 };
#define ADDRESS_BITS 48
#define CLD 0xfc /* what the code of interrupts begins with, and little else has */

/* Addresses, by hash; 0: free. The half of the room that is left makes searches short. */
struct places {
    uint32_t used;
    uint64_t at[PLACES];
};
static struct places behind_calls; /* where programs go on behind system calls */
static struct places returns;      /* blocks that are nothing but a return */

/* The place of an address, or the free one where it would be. */
static uint64_t *place_of(struct places *places, uint64_t address)
{
    uint32_t i = (uint32_t)(address * 0x9e3779b97f4a7c15u >> 40) % PLACES;
    while (places->at[i] && places->at[i] != address)
        i = (i + 1) % PLACES;
    return &places->at[i];
}

static void add_place(struct places *places, uint64_t address)
{
    uint64_t *place = place_of(places, address);
    if (!*place && places->used < PLACES / 2) {
        *place = address;
        places->used++;
    }
}

/* A call or return that a block ends with. */
struct event {
    uint64_t site;
    uint64_t begun; /* the block, when it was last told of */
};
static struct event *events; /* [BLOCKS], by slot */

/* What an interrupt reads and writes QEMU may tell of as if the last instruction that is watched had done it: then its
 * block has not begun again. */
static bool is_new(struct event *event)
{
    uint64_t now = begun[event - events];
    bool new = event->begun != now;
    event->begun = now;
    return new;
}

/* Reads and writes are told apart here: QEMU 7.2 takes one for the other where one kind alone is asked for. */
static void called(unsigned int vcpu, uint32_t info, uint64_t address, void *data)
{
    (void)vcpu;
    if (qemu_plugin_mem_is_store(info) && is_new(data)) /* a read is of where it calls */
        flow_call(((struct event *)data)->site, address);
}

static void returned(unsigned int vcpu, uint32_t info, uint64_t address, void *data)
{
    (void)vcpu;
    if (!qemu_plugin_mem_is_store(info) && is_new(data))
        flow_return(((struct event *)data)->site, address);
}

static void leaving(unsigned int vcpu, void *data)
{
    (void)vcpu;
    flow_leave((uintptr_t)data);
}

static void interrupting(unsigned int vcpu, void *data)
{
    (void)vcpu;
    flow_interrupt((uintptr_t)data);
}

static void interrupted(unsigned int vcpu, void *data)
{
    (void)vcpu, (void)data;
    flow_interrupted();
}

static struct qemu_plugin_register *rax; /* NULL where QEMU tells no registers */
static glib_array_t *value;

static void find_rax(qemu_plugin_id_t id, unsigned int vcpu)
{
    (void)id, (void)vcpu;
    const glib_array_t *registers = qemu_plugin_get_registers();
    const qemu_plugin_reg_descriptor *one = registers ? registers->data : NULL;
    for (unsigned int i = 0; one && i < registers->length; i++)
        if (one[i].name && strcmp(one[i].name, "rax") == 0)
            rax = one[i].handle;
    value = g_byte_array_new();
}

/* The number that a program asks its kernel for, where it is not in the code beside. */
static uint32_t number_in_rax(void)
{
    uint32_t number = UNKNOWN;
    g_byte_array_set_size(value, 0);
    qemu_plugin_read_register(rax, value);
    if (value->length >= sizeof number)
        memcpy(&number, value->data, sizeof number); /* a little-endian guest, on a host that is one: x86-64 */
    return number < UNKNOWN ? number : UNKNOWN;
}

static void kernel_called(unsigned int vcpu, void *data)
{
    (void)vcpu;
    int64_t site = (int64_t)((uintptr_t)data << (64 - ADDRESS_BITS)) >> (64 - ADDRESS_BITS);
    uint32_t number = (uint32_t)((uintptr_t)data >> ADDRESS_BITS);
    flow_syscall((uint64_t)site, number == UNKNOWN && rax ? number_in_rax() : number);
}

static void back(unsigned int vcpu, void *data)
{
    (void)vcpu;
    flow_back((uintptr_t)data);
}

/* The number of the system call that a block ends with. */
static uint64_t number_of(const struct qemu_plugin_tb *tb, size_t instructions)
{
    int eax = UNKNOWN;
    for (size_t i = 0; i + 1 < instructions; i++) {
        uint8_t bytes[16];
        size_t length = bytes_of(qemu_plugin_tb_get_insn(tb, i), bytes);
        int after = eax_after(bytes, length);
        if (after >= 0)
            eax = after;
    }
    return (uint64_t)eax;
}

/* Watches how the block in `slot` ends, for call stacks. Of code that found no place calls are not seen. */
static void follow_stacks(struct qemu_plugin_insn *insn, enum ending ending, uint64_t target, uint32_t slot)
{
    uint64_t site = qemu_plugin_insn_vaddr(insn);
    events[slot].site = site;
    if (ending == ENDS_IN_CALL && slot)
        qemu_plugin_register_vcpu_mem_cb(insn, called, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, &events[slot]);
    else if (ending == ENDS_IN_RETURN && slot)
        qemu_plugin_register_vcpu_mem_cb(insn, returned, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, &events[slot]);
    else if (ending == ENDS_IN_IRET)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, interrupted, QEMU_PLUGIN_CB_NO_REGS, NULL);
    else if (target && *place_of(&returns, target))
        qemu_plugin_register_vcpu_insn_exec_cb(insn, leaving, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)site);
}

/* Watches the block in `slot`. last: the bytes of its last instruction; interrupt: an interrupt's code may begin here. */
static void follow(struct qemu_plugin_tb *tb, uint32_t slot, const uint8_t *last, size_t bytes, bool interrupt)
{
    size_t instructions = qemu_plugin_tb_n_insns(tb);
    add_at(tb, flow_total(), instructions);
    if (stacked && interrupt)
        qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, 0), interrupting, QEMU_PLUGIN_CB_NO_REGS,
                                               (void *)(uintptr_t)instructions);
    if (*place_of(&behind_calls, qemu_plugin_tb_vaddr(tb)))
        qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, 0), back, QEMU_PLUGIN_CB_NO_REGS,
                                               (void *)(uintptr_t)instructions);
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, instructions - 1);
    enum ending ending = ending_of(last, bytes);
    uint64_t site = qemu_plugin_insn_vaddr(insn);
    if (ending == ENDS_IN_SYSCALL) {
        add_place(&behind_calls, site + bytes);
        uint64_t number = number_of(tb, instructions);
        uint64_t both = number << ADDRESS_BITS | (site & ((UINT64_C(1) << ADDRESS_BITS) - 1));
        enum qemu_plugin_cb_flags regs = number == UNKNOWN && rax ? QEMU_PLUGIN_CB_R_REGS : QEMU_PLUGIN_CB_NO_REGS;
        qemu_plugin_register_vcpu_insn_exec_cb(insn, kernel_called, regs, (void *)(uintptr_t)both);
    }
    if (stacked) {
        int64_t far = 0;
        if (ending == ENDS_IN_RETURN && instructions == 1)
            add_place(&returns, site);
        follow_stacks(insn, ending, jumps(last, bytes, &far) ? site + bytes + (uint64_t)far : 0, slot);
    }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    static const uint8_t marker[] = UK_MARKER_BYTES;
    struct qemu_plugin_insn *marking = NULL;
    bool interrupt = false;
    size_t instructions = qemu_plugin_tb_n_insns(tb), mark = 0, length = 0;
    uint8_t bytes[16];
    struct block new = {.address = qemu_plugin_tb_vaddr(tb), .digest = 2166136261u};
    new.instructions = (uint16_t)instructions;
    for (size_t i = 0; i < instructions; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        length = bytes_of(insn, bytes);
        for (size_t j = 0; j < length; j++) {
            new.digest = (new.digest ^ bytes[j]) * 16777619u;
            if (new.size + j < CODE)
                new.code[new.size + j] = bytes[j];
        }
        new.size += (uint16_t)length;
        interrupt |= length == 1 && bytes[0] == CLD;
        if (length == sizeof marker && !marking && memcmp(bytes, marker, length) == 0)
            marking = insn, mark = i;
    }
    pthread_mutex_lock(&lock);
    uint32_t before = header->blocks;
    uint32_t slot = instructions == 1 && !several && !repeats(new.code) ? slots_alone(&new) : slot_of(&new);
    bool alone = header->blocks == before + 3;
    pthread_mutex_unlock(&lock);
    if (alone)
        count_accesses(qemu_plugin_tb_get_insn(tb, 0), slot);
    count(tb, slot, slot ? 1 : instructions);
    if (flowing)
        follow(tb, slot, bytes, length, interrupt);
    if (marking) {
        uint64_t from = (uint64_t)(instructions - mark) << (SLOT_BITS + 1);
        qemu_plugin_register_vcpu_insn_exec_cb(marking, marked, QEMU_PLUGIN_CB_NO_REGS,
                                               (void *)(uintptr_t)(from | slot << 1 | (slot && mark == 0)));
    }
}

/* What follows `key` in one of the arguments; null: none begins so. */
static const char *argument(int argc, char **argv, const char *key)
{
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], key, strlen(key)) == 0)
            return argv[i] + strlen(key);
    return NULL;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    const char *counts = argument(argc, argv, "counts="), *flow = argument(argc, argv, "flow=");
    if (!info->system_emulation || !counts) {
        fprintf(stderr, "ukperf's plugin wants counts=FILE and a whole machine\n");
        return -1;
    }
    if (map(counts) != 0)
        return -1;
    api = info->version.cur;
    several = info->system.max_vcpus > 1;
    flowing = flow && !several;
    stacked = flowing && argument(argc, argv, "stacks=on");
    if (flowing && flow_open(flow, stacked) != 0)
        return -1;
    events = stacked ? calloc(BLOCKS, sizeof *events) : NULL;
    if (stacked && !events)
        return -1;
    if (!qemu_plugin_register_vcpu_tb_exec_inline)
        score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    header->version = 1;
    header->header_bytes = HEADER;
    header->blocks_room = BLOCKS;
    header->windows_room = WINDOWS;
    header->entries_room = ENTRIES;
    header->vcpus = (uint32_t)info->system.smp_vcpus;
    header->api = (uint32_t)api;
    block[0].instructions = 1;
    header->blocks = header->windows = 1;
    memcpy(header->magic, "ukcounts", 8);
    if (flowing && qemu_plugin_get_registers && g_byte_array_new)
        qemu_plugin_register_vcpu_init_cb(id, find_rax);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
