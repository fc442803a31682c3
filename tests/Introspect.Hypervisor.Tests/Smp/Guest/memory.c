/* Acts about what a vCPU remembers of memory: its translations, the marks in page tables, decoded code. */
#include "smp.h"

enum { PRESENT = 1, WRITABLE = 2, ACCESSED = 0x20, DIRTY = 0x40, WINDOW_PAGES = 512 };

static uint64_t window_table[WINDOW_PAGES] ON_ITS_OWN_PAGE;
static uint64_t window_directory[512] ON_ITS_OWN_PAGE;
static uint64_t frames[2][512] ON_ITS_OWN_PAGE;
static volatile uint64_t acknowledged ON_ITS_OWN_PAGE;
static volatile uint64_t mistakes ON_ITS_OWN_PAGE;
static volatile uint64_t stage ON_ITS_OWN_PAGE;

static void count(volatile uint64_t *counter) { __asm__ volatile("lock incq %0" : "+m"(*counter) : : "memory", "cc"); }

void window_init(void)
{
    uint64_t root;
    __asm__ volatile("mov %%cr3, %0" : "=r"(root));
    uint64_t *pointers = (uint64_t *)(*(uint64_t *)root & ~0xfffULL);
    window_directory[0] = (uintptr_t)window_table | PRESENT | WRITABLE;
    pointers[1] = (uintptr_t)window_directory | PRESENT | WRITABLE;
}

volatile uint64_t *window_entry(unsigned page) { return &window_table[page]; }
void *window_page(unsigned page) { return (void *)(0x40000000ULL + page * PAGE); }

/* A load whose fault is skipped; what is loaded then is what was in rax. */
static uint64_t load(volatile uint64_t *at, uint64_t otherwise)
{
    __asm__ volatile("movq (%%rdi), %%rax" : "+a"(otherwise) : "D"(at) : "memory");
    return otherwise;
}

static void store(volatile uint64_t *at, uint64_t value)
{
    __asm__ volatile("movq %%rsi, (%%rdi)" : : "D"(at), "S"(value) : "memory");
}

/* TLB shootdown: after a frame was exchanged and all have answered, nobody reads the old one. */
static void forget(unsigned vcpu)
{
    (void)vcpu;
    invlpg(window_page(0));
    count(&acknowledged);
}

void shootdown_run(unsigned vcpu)
{
    volatile uint64_t *page = window_page(0);
    if (vcpu == 0) {
        on_interrupt = forget;
        for (unsigned n = 0; n < 2; n++) {
            frames[n][0] = n;
        }
        *window_entry(0) = (uintptr_t)frames[0] | PRESENT | WRITABLE;
    }
    meet();
    for (uint64_t n = 1; n <= rounds; n++) {
        (void)*page;
        meet();
        if (vcpu == 0) {
            *window_entry(0) = (uintptr_t)frames[n & 1] | PRESENT | WRITABLE;
            invlpg(page);
            interrupt_others(0);
            while (acknowledged != n * (vcpus - 1)) {
                pause();
            }
            stage = n;
        } else {
            while (stage != n) {
                (void)*page; /* fills the TLB again and again, until told otherwise */
                pause();
            }
        }
        if (*page != (n & 1)) {
            count(&mistakes);
        }
        meet();
    }
}

int shootdown_check(void) { return mistakes == 0 && acknowledged == rounds * (vcpus - 1); }

/*
 * Accessed and dirty bits: while the others touch a page all the time, vCPU 0 takes its entry away. What it put in
 * place of it, which is not present, must stay as it is.
 */
void marks_run(unsigned vcpu)
{
    volatile uint64_t *entry = window_entry(1), *page = window_page(1);
    static const uint64_t taken = 0x5a5a000;
    if (vcpu != 0) {
        while (stage == 0) {
            invlpg(page);
            store(page, vcpu);
            load(page, 0);
        }
        return;
    }
    /* Until the others met the entry often enough, however little they are let run. */
    uint64_t met = 0;
    for (uint64_t n = 0; met < rounds; n++) {
        *entry = (uintptr_t)frames[0] | PRESENT | WRITABLE;
        for (int wait = 0; wait < (int)(n % 16); wait++) {
            pause();
        }
        uint64_t old = taken;
        __asm__ volatile("xchgq %0, %1" : "+r"(old), "+m"(*entry) : : "memory");
        if ((old & ~(uint64_t)(ACCESSED | DIRTY)) != ((uintptr_t)frames[0] | PRESENT | WRITABLE)) {
            count(&mistakes);
        }
        met += (old & ACCESSED) != 0;
        for (int look = 0; look < 8; look++) {
            if (*entry != taken) {
                count(&mistakes);
                break;
            }
        }
    }
    stage = 1;
}

int marks_check(void) { return mistakes == 0; }

/*
 * Cross-modifying code, as the manuals want it: write, tell, serialise, run. In the first half vCPU 0 writes and never
 * runs the code, so that only the others can have it decoded; then each writes in turn and runs it, too.
 */
static uint8_t code[PAGE] ON_ITS_OWN_PAGE;
static volatile uint64_t ran ON_ITS_OWN_PAGE;

void code_run(unsigned vcpu)
{
    uint32_t (*function)(void) = (uint32_t (*)(void))(uintptr_t)code;
    if (vcpu == 0) {
        code[0] = 0xb8; /* mov $imm32, %eax; ret */
        code[5] = 0xc3;
    }
    meet();
    for (uint64_t n = 1; n <= rounds; n++) {
        int first_half = n <= rounds / 2;
        if (vcpu == (first_half ? 0 : n % vcpus)) {
            *(volatile uint32_t *)(code + 1) = (uint32_t)n;
            stage = n;
        } else {
            while (stage != n) {
                pause();
            }
        }
        serialise();
        if (!(first_half && vcpu == 0) && function() != (uint32_t)n) {
            count(&mistakes);
        }
        count(&ran);
        while (ran < n * vcpus) {
            pause();
        }
    }
}

/* A function that somebody outside writes: what each vCPU gets from it is in its counter, until it is the end. */
void patched_run(unsigned vcpu)
{
    uint32_t (*function)(void) = (uint32_t (*)(void))(uintptr_t)code;
    if (vcpu == 0) {
        code[0] = 0xb8; /* mov $imm32, %eax; ret */
        code[5] = 0xc3;
    }
    meet();
    do {
        serialise();
        vcpu_counters[vcpu] = function();
    } while (vcpu_counters[vcpu] != 0xffffffff);
}

int patched_check(void) { return 1; }

int code_check(void) { return mistakes == 0 && ran == rounds * vcpus; }
