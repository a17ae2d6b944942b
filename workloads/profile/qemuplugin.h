/* qemuplugin.h: QEMU's interface for plugins, as far as plugin.c uses it: API 1 (QEMU 4.2 to 8.2), 2 and later (9.0 on).
 * No distribution ships QEMU's header, so the declarations are here, from QEMU's documentation
 * (docs/devel/tcg-plugins.rst). What a QEMU has not is a weak symbol that is null.
 */
#ifndef UKPERF_QEMUPLUGIN_H
#define UKPERF_QEMUPLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus, max_vcpus;
    } system;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
/* GLib's GArray and GByteArray, as far as anybody may look into them. */
typedef struct {
    void *data;
    unsigned int length;
} glib_array_t;
struct qemu_plugin_register;
typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} qemu_plugin_reg_descriptor;
typedef void (*simple_cb)(qemu_plugin_id_t, unsigned int vcpu);
typedef void (*translated_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_cb)(unsigned int vcpu, void *data);
typedef void (*accessed_cb)(unsigned int vcpu, uint32_t info, uint64_t address, void *data);

#define EXPORT __attribute__((visibility("default")))
#define WEAK __attribute__((weak, visibility("default")))
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, simple_cb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_cb, enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, executed_cb, enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, accessed_cb, enum qemu_plugin_cb_flags,
                                      enum qemu_plugin_mem_rw, void *);
bool qemu_plugin_mem_is_store(uint32_t info);
void qemu_plugin_insn_data(void); /* API 1 and 2 return a pointer and take one argument; from 3 on it copies */
typedef const void *(*insn_data_1)(const struct qemu_plugin_insn *);
typedef size_t (*insn_data_3)(const struct qemu_plugin_insn *, void *, size_t);
/* API 1 */
WEAK void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
WEAK void qemu_plugin_register_vcpu_mem_inline(struct qemu_plugin_insn *, enum qemu_plugin_mem_rw, enum qemu_plugin_op,
                                               void *, uint64_t);
/* API 2 */
WEAK void qemu_plugin_register_vcpu_mem_inline_per_vcpu(struct qemu_plugin_insn *, enum qemu_plugin_mem_rw,
                                                        enum qemu_plugin_op, qemu_plugin_u64, uint64_t);
WEAK void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, enum qemu_plugin_op,
                                                            qemu_plugin_u64, uint64_t);
WEAK glib_array_t *qemu_plugin_get_registers(void);
WEAK int qemu_plugin_read_register(struct qemu_plugin_register *, glib_array_t *);
WEAK glib_array_t *g_byte_array_new(void);
WEAK glib_array_t *g_byte_array_set_size(glib_array_t *, unsigned int);
WEAK struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
WEAK void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *, unsigned int);
/* API 4 and 5: only whether they are there is asked. */
WEAK bool qemu_plugin_read_memory_vaddr(uint64_t, void *, size_t);
WEAK int qemu_plugin_write_register(void *, void *);

#endif
