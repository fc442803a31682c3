/*
 * The hypervisor's side of a vm_event ring of one interface version (VERSION, 1 to 7), on a page in a file:
 * "put" writes a ringful of requests, "check" looks whether the responses are what was agreed with the test.
 * The structures are written down from the published sizes and offsets, which the assertions hold.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct registers {
    uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rflags;
#if VERSION >= 4
    uint64_t dr6;
#endif
    uint64_t dr7, rip, cr0, cr2, cr3, cr4, sysenter_cs, sysenter_esp, sysenter_eip, efer, star, lstar;
#if VERSION >= 5
    uint64_t gdtr_base;
#endif
#if VERSION >= 7
    uint64_t npt_base, vmtrace_pos;
#endif
#if VERSION >= 4
    uint32_t cs_base, ss_base, ds_base, es_base;
#endif
    uint64_t fs_base, gs_base;
#if VERSION <= 3
    uint32_t cs_arbytes, pad;
#else
    uint32_t cs, ss, ds, es, fs, gs;
    uint64_t shadow_gs;
#if VERSION >= 5
    uint16_t gdtr_limit;
#endif
    uint16_t cs_sel, ss_sel, ds_sel, es_sel, fs_sel, gs_sel;
#endif
};

struct debug {
    uint64_t gfn;
#if VERSION >= 6
    uint64_t pending_dbg;
#endif
#if VERSION >= 2
    uint32_t insn_length;
    uint8_t type, pad[3];
#endif
};

struct event {
    uint32_t version, flags, reason, vcpu_id;
    uint16_t altp2m_idx, pad[3];
    union {
        struct { uint64_t gfn, offset, gla; uint32_t flags, pad; } mem_access;
        struct { uint32_t index, pad; uint64_t new_value, old_value; } write_ctrlreg;
        struct { uint64_t msr, new_value, old_value; } mov_to_msr;
        struct debug debug;
        uint8_t bytes[32];
    } u;
    union {
        struct registers regs;
        struct { uint32_t size; uint8_t data[sizeof(struct registers) - 4]; } read;
    } data;
};

#define SIZE (VERSION <= 3 ? 312 : VERSION == 4 ? 376 : VERSION <= 6 ? 384 : 400)
_Static_assert(sizeof(struct event) == SIZE, "size of an event");
_Static_assert(offsetof(struct event, u) == 24 && offsetof(struct event, data) == 56, "places in an event");

struct page {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
    uint8_t pad[48];
    struct event slots[8];
};

_Static_assert(sizeof(struct page) <= 4096, "eight slots fit");

static union { struct page ring; uint8_t bytes[4096]; } page;

enum { MEM_ACCESS = 1, WRITE_CTRLREG = 4, MOV_TO_MSR = 5, BREAKPOINT = 6, SINGLESTEP = 7, GUEST_REQUEST = 8 };
enum { PAUSED = 1, EMULATE = 4, SET_READ_DATA = 1 << 5, DENY = 1 << 6, SET_REGISTERS = 1 << 8 };

static struct event *put(uint32_t reason)
{
    uint32_t n = page.ring.req_prod++;
    struct event *e = &page.ring.slots[n];
    memset(e, 0, sizeof *e);
    e->version = VERSION;
    e->flags = PAUSED;
    e->reason = reason;
    e->vcpu_id = n;
    e->altp2m_idx = (uint16_t)(n + 100);
    struct registers *r = &e->data.regs;
    r->rax = 0x1000 + n;
    r->r15 = 0x1500 + n;
    r->rflags = 0x202;
    r->dr7 = 0x400;
    r->rip = 0xffffffff81000000 + n;
    r->cr0 = 0x80050033;
    r->cr4 = 0x3406e0;
    r->efer = 0xd01;
    r->lstar = 0xffffffff82000000;
    r->fs_base = 0x7f0000001000;
    r->gs_base = 0xffff888000000000;
#if VERSION <= 3
    r->cs_arbytes = 0xa9b;
#else
    r->dr6 = 0xffff0ff0;
    r->cs = 0xa9bfffff;
    r->ss_sel = 0x18;
    r->gs_sel = 0x2b;
    r->shadow_gs = 0x7f0000002000;
#endif
#if VERSION >= 5
    r->gdtr_base = 0xfffffe0000001000;
    r->gdtr_limit = 0x7f;
#endif
    return e;
}

static void put_all(void)
{
    struct event *e = put(MEM_ACCESS);
    e->u.mem_access.gfn = 0x1234;
    e->u.mem_access.offset = 0x567;
    e->u.mem_access.gla = 0x7fff1234567;
    e->u.mem_access.flags = 0x1a;
    e = put(WRITE_CTRLREG);
    e->u.write_ctrlreg.index = 2;
    e->u.write_ctrlreg.new_value = 0x2006e0;
    e->u.write_ctrlreg.old_value = 0x3406e0;
    e = put(MOV_TO_MSR);
    e->u.mov_to_msr.msr = 0xc0000082;
    e->u.mov_to_msr.new_value = 0xabc;
#if VERSION >= 3
    e->u.mov_to_msr.old_value = 0xdef;
#endif
    e = put(BREAKPOINT);
    e->u.debug.gfn = 0x77;
#if VERSION >= 2
    e->u.debug.insn_length = 1;
    e->u.debug.type = 6;
#endif
#if VERSION >= 6
    e->u.debug.pending_dbg = 0x4000;
#endif
    e = put(SINGLESTEP);
    e->u.debug.gfn = 0x88;
    put(GUEST_REQUEST);
    put(GUEST_REQUEST);
    put(GUEST_REQUEST);
}

static int mistakes;

static void expect(const char *what, uint64_t expected, uint64_t found)
{
    if (expected != found) {
        printf("%s is %#llx and not %#llx\n", what, (unsigned long long)found, (unsigned long long)expected);
        mistakes++;
    }
}

static void check_all(void)
{
    expect("rsp_prod", 8, page.ring.rsp_prod);
    for (uint32_t n = 0; n < 8; n++) {
        const struct event *e = &page.ring.slots[n];
        expect("version", VERSION, e->version);
        expect("vcpu_id", n, e->vcpu_id);
        expect("altp2m_idx", n + 100, e->altp2m_idx);
    }
    const struct event *e = page.ring.slots;
    expect("flags of mem_access", PAUSED | EMULATE | SET_READ_DATA, e[0].flags);
    expect("size of the data", 16, e[0].data.read.size);
    for (int n = 0; n < 16; n++) {
        expect("data", 0xa0 + n, e[0].data.read.data[n]);
    }
    expect("gfn", 0x1234, e[0].u.mem_access.gfn);
    expect("flags of write_ctrlreg", PAUSED | DENY, e[1].flags);
    expect("index", 2, e[1].u.write_ctrlreg.index);
    expect("new_value", 0x2006e0, e[1].u.write_ctrlreg.new_value);
    expect("msr", 0xc0000082, e[2].u.mov_to_msr.msr);
#if VERSION >= 2
    expect("insn_length", 1, e[3].u.debug.insn_length);
    expect("type", 6, e[3].u.debug.type);
#endif
    expect("flags of guest_request", PAUSED | SET_REGISTERS, e[5].flags);
    expect("rip", 0xffffffff81000008, e[5].data.regs.rip);
    expect("rax", 0x1005, e[5].data.regs.rax);
    expect("r15", 0xbeef, e[5].data.regs.r15);
    expect("rflags", 0x202, e[5].data.regs.rflags);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 3 ? fopen(argv[2], "r+b") : NULL;
    if (file == NULL || fread(page.bytes, 1, sizeof page.bytes, file) != sizeof page.bytes) {
        return 2;
    }
    if (strcmp(argv[1], "put") == 0) {
        put_all();
        rewind(file);
        return fwrite(page.bytes, 1, sizeof page.bytes, file) == sizeof page.bytes && fclose(file) == 0 ? 0 : 2;
    }
    check_all();
    return mistakes != 0;
}
