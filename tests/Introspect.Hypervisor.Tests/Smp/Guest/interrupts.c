/* Interrupts between vCPUs by event channels, and a page-fault handler that lets the faulting load go by. */
#include "smp.h"

enum { EVENT_CHANNEL_OP = 32, HVM_OP = 34, BIND_IPI = 7, SEND = 4, SET_UPCALL_VECTOR = 23, MEMORY_OP = 12, ADD_TO_PHYSMAP = 7 };

struct shared_vcpu {
    uint8_t pending, mask;
    uint8_t pad[6];
    uint64_t selector;
    uint8_t rest[48];
};

struct shared {
    struct shared_vcpu vcpu[32];
    uint64_t pending[64];
    uint64_t mask[64];
};

struct gate {
    uint16_t low, selector, flags, middle;
    uint32_t high, zero;
};

static volatile struct shared shared ON_ITS_OWN_PAGE;
static uint8_t rest_of_shared[PAGE] __attribute__((used));
static struct gate gates[256];
static uint32_t ports[MAX_VCPUS];

void (*volatile on_interrupt)(unsigned vcpu);
volatile uint64_t page_faults ON_ITS_OWN_PAGE;

extern void upcall_entry(void), page_fault_entry(void);

/* Every vCPU has its number in GS, as the low word of its base. */
__asm__(".text\n"
        "upcall_entry:\n"
        "  push %rax\n  push %rcx\n  push %rdx\n  push %rsi\n  push %rdi\n  push %r8\n  push %r9\n  push %r10\n  push %r11\n"
        "  cld\n"
        "  call upcall\n"
        "  pop %r11\n  pop %r10\n  pop %r9\n  pop %r8\n  pop %rdi\n  pop %rsi\n  pop %rdx\n  pop %rcx\n  pop %rax\n"
        "  iretq\n"
        /* The only accesses that may fault are movq (%rdi), %rax and movq %rsi, (%rdi): three bytes each. */
        "page_fault_entry:\n"
        "  lock incq page_faults\n"
        "  addq $3, 8(%rsp)\n"
        "  addq $8, %rsp\n"
        "  iretq\n");

/* The local APIC in x2APIC mode: the upcall comes through it, so it must be enabled and told of the end. */
enum { APIC_BASE = 0x1b, APIC_X2_ENABLE = 0xc00, APIC_EOI = 0x80b, APIC_SPURIOUS = 0x80f, APIC_ENABLE = 0x1ff };

static void apic_enable(void)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(APIC_BASE));
    __asm__ volatile("wrmsr" : : "c"(APIC_BASE), "a"(low | APIC_X2_ENABLE), "d"(high));
    __asm__ volatile("wrmsr" : : "c"(APIC_SPURIOUS), "a"(APIC_ENABLE), "d"(0));
}

static unsigned self(void)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000101));
    return low;
}

__attribute__((used)) void upcall(void)
{
    unsigned vcpu = self();
    volatile struct shared_vcpu *own = &shared.vcpu[vcpu];
    own->pending = 0;
    uint64_t words = 0;
    __asm__ volatile("xchgq %0, %1" : "+r"(words), "+m"(own->selector) : : "memory");
    uint32_t port = ports[vcpu];
    uint8_t was;
    __asm__ volatile("lock btrq %2, %1; setc %0" : "=q"(was), "+m"(shared.pending[port / 64]) : "r"((uint64_t)(port % 64)) : "memory", "cc");
    if (was && on_interrupt != NULL) {
        on_interrupt(vcpu);
    }

    __asm__ volatile("wrmsr" : : "c"(APIC_EOI), "a"(0), "d"(0));
}

static void set_gate(unsigned vector, void (*entry)(void))
{
    uintptr_t at = (uintptr_t)entry;
    gates[vector] = (struct gate){ (uint16_t)at, 8, 0x8e00, (uint16_t)(at >> 16), (uint32_t)(at >> 32), 0 };
}

void interrupts_init(unsigned vcpu)
{
    if (vcpu == 0) {
        set_gate(14, page_fault_entry);
        set_gate(UPCALL_VECTOR, upcall_entry);
        struct { uint16_t domid, size; uint32_t space; uint64_t index, gfn; } map = { 0x7ff0, 0, 0, 0, (uintptr_t)&shared / PAGE };
        hypercall3(MEMORY_OP, ADD_TO_PHYSMAP, (long)&map, 0);
    }

    __asm__ volatile("wrmsr" : : "c"(0xc0000101), "a"(vcpu), "d"(0));
    struct __attribute__((packed)) { uint16_t limit; void *base; } table = { sizeof gates - 1, gates };
    __asm__ volatile("lidt %0" : : "m"(table));
    meet();
    if (vcpu < 32) {
        apic_enable();
        struct { uint32_t vcpu; uint8_t vector; } way = { vcpu, UPCALL_VECTOR };
        struct { uint32_t vcpu, port; } ipi = { vcpu, 0 };
        hypercall3(HVM_OP, SET_UPCALL_VECTOR, (long)&way, 0);
        hypercall3(EVENT_CHANNEL_OP, BIND_IPI, (long)&ipi, 0);
        ports[vcpu] = ipi.port;
    }
    meet();
    __asm__ volatile("sti");
}

void interrupt_others(unsigned vcpu)
{
    for (unsigned other = 0; other < vcpus; other++) {
        if (other != vcpu) {
            uint32_t port = ports[other];
            hypercall3(EVENT_CHANNEL_OP, SEND, (long)&port, 0);
        }
    }
}
