/* A plugin of QEMU's user mode that counts the instructions which a program executes. QEMU's header is
 * in no Debian package, so what is used of it (version 1 of the interface) is declared here. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct qemu_plugin_tb;
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);

int qemu_plugin_version = 1;
static uint64_t total;

static void executed(unsigned cpu, void *count) {
    (void)cpu;
    __atomic_fetch_add(&total, (uint64_t)(uintptr_t)count, __ATOMIC_RELAXED);
}

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
    (void)id;
    void *count = (void *)(uintptr_t)qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, count);
}

static void finished(uint64_t id, void *nothing) {
    (void)id, (void)nothing;
    fprintf(stderr, "instructions: %llu\n", (unsigned long long)total);
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
