/* Brings the vCPUs up as a PVH guest does, has them do one act together, and says what came of it. */
#include "smp.h"

enum { VCPU_OP = 24, INITIALISE = 0, UP = 1, IS_UP = 3, REGISTER_INFO = 10, LEGACY_VCPUS = 32 };

struct context {
    uint32_t mode, pad;
    uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags, cr0, cr3, cr4, efer;
    uint64_t rest[8];
};

struct info {
    uint64_t mfn;
    uint32_t offset, pad;
};

extern uint8_t hypercall_page[];
extern uint32_t start_info;
extern void vcpu_start(void);

unsigned vcpus = 1;
uint64_t rounds;

static const struct act acts[] = {
    { "spinlock", spinlock_run, spinlock_check },
    { "ticket", ticket_run, ticket_check },
    { "bits", bits_run, bits_check },
    { "misaligned", misaligned_run, misaligned_check },
    { "stack", stack_run, stack_check },
    { "code", code_run, code_check },
    { "patched", patched_run, patched_check },
    { "shootdown", shootdown_run, shootdown_check },
    { "marks", marks_run, marks_check },
    { "requests", requests_run, requests_check },
    { "counters", counters_run, counters_check },
    { "race", race_run, race_check },
};

static const struct act *act;
static uint8_t stacks[MAX_VCPUS][8192] __attribute__((aligned(16)));
static uint8_t infos[MAX_VCPUS][64] ON_ITS_OWN_PAGE;
static volatile uint32_t arrived ON_ITS_OWN_PAGE;
static volatile uint32_t done;

/* Sets up the segments that the context did not: interrupts return through them. */
__asm__(".text\n"
        "vcpu_start:\n"
        "  lgdt smp_gdt_pointer\n"
        "  pushq $8\n"
        "  pushq $1f\n"
        "  lretq\n"
        "1: mov $0x10, %eax\n"
        "  mov %eax, %ds\n"
        "  mov %eax, %es\n"
        "  mov %eax, %ss\n"
        "  call vcpu_main\n"
        "2: hlt\n"
        "  jmp 2b\n"
        ".data\n"
        ".balign 8\n"
        "smp_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
        "smp_gdt_pointer: .word 23\n"
        "  .quad smp_gdt\n"
        ".text\n");

long hypercall3(unsigned number, long a, long b, long c)
{
    long result;
    __asm__ volatile("call *%4"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
                     : "r"(hypercall_page + number * 32)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
    return result;
}

void meet(void)
{
    uint32_t one = 1;
    __asm__ volatile("lock xaddl %0, %1" : "+r"(one), "+m"(arrived) : : "memory", "cc");
    uint32_t target = (one / vcpus + 1) * vcpus;
    while ((int32_t)(arrived - target) < 0) {
        pause();
    }
}

static void play(unsigned vcpu)
{
    interrupts_init(vcpu);
    meet();
    act->run(vcpu);
    __asm__ volatile("lock incl %0" : "+m"(done) : : "memory", "cc");
}

__attribute__((used)) void vcpu_main(uint64_t vcpu)
{
    play((unsigned)vcpu);
    __asm__ volatile("cli");
    for (;;) {
        hypercall3(VCPU_OP, 2, (long)vcpu, 0);
    }
}

static uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return low | (uint64_t)high << 32;
}

static int bring_up(unsigned vcpu)
{
    if (vcpu >= LEGACY_VCPUS) {
        struct info info = { (uintptr_t)infos[vcpu] / PAGE, (uint32_t)((uintptr_t)infos[vcpu] % PAGE), 0 };
        if (hypercall3(VCPU_OP, REGISTER_INFO, vcpu, (long)&info) != 0) {
            return 0;
        }
    }

    static struct context context;
    context = (struct context){ .mode = 1, .rdi = vcpu, .rip = (uintptr_t)vcpu_start, .rflags = 2 };
    context.rsp = (uintptr_t)stacks[vcpu] + sizeof stacks[vcpu] - 16;
    __asm__ volatile("mov %%cr0, %0" : "=r"(context.cr0));
    __asm__ volatile("mov %%cr3, %0" : "=r"(context.cr3));
    __asm__ volatile("mov %%cr4, %0" : "=r"(context.cr4));
    context.efer = read_msr(0xc0000080);
    return hypercall3(VCPU_OP, IS_UP, vcpu, 0) == 0
        && hypercall3(VCPU_OP, UP, vcpu, 0) == -22
        && hypercall3(VCPU_OP, INITIALISE, vcpu, (long)&context) == 0
        && hypercall3(VCPU_OP, INITIALISE, vcpu, (long)&context) == -17
        && hypercall3(VCPU_OP, UP, vcpu, 0) == 0
        && hypercall3(VCPU_OP, IS_UP, vcpu, 0) == 1;
}

static uint64_t number(const char **text)
{
    uint64_t value = 0;
    while (**text == ' ') {
        (*text)++;
    }
    while (**text >= '0' && **text <= '9') {
        value = value * 10 + (uint64_t)(*(*text)++ - '0');
    }
    return value;
}

/* The command line: name of the act, vCPUs, rounds. */
void guest_main(void)
{
    platform_init();
    const char *line = (const char *)*(uint64_t *)(uintptr_t)(start_info + 24);
    size_t length = 0;
    while (line[length] != ' ' && line[length] != 0) {
        length++;
    }
    for (unsigned n = 0; n < sizeof acts / sizeof *acts; n++) {
        if (strlen(acts[n].name) == length && memcmp(acts[n].name, line, length) == 0) {
            act = &acts[n];
        }
    }
    line += length;
    vcpus = (unsigned)number(&line);
    rounds = number(&line);
    if (act == NULL || vcpus == 0 || vcpus > MAX_VCPUS) {
        print("what to do?\n");
        power_off(1);
    }

    window_init();
    for (unsigned vcpu = 1; vcpu < vcpus; vcpu++) {
        if (!bring_up(vcpu)) {
            print("a vCPU does not come up\n");
            power_off(1);
        }
    }

    play(0);
    while (done != vcpus) {
        pause();
    }
    int good = act->check();
    print(act->name);
    print(good ? ": ok\n" : ": FAILED\n");
    power_off(!good);
}
