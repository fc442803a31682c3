/* A guest with several vCPUs: what its parts know of each other. */
#ifndef SMP_H
#define SMP_H

#include "guest.h"

enum { MAX_VCPUS = 128, PAGE = 4096, UPCALL_VECTOR = 0xf0 };

#define ON_ITS_OWN_PAGE __attribute__((aligned(4096)))

/* What a vCPU runs, and what vCPU 0 checks when all have come to the end. */
struct act {
    const char *name;
    void (*run)(unsigned vcpu);
    int (*check)(void);
};

extern unsigned vcpus;
extern uint64_t rounds;

long hypercall3(unsigned number, long a, long b, long c);
static inline void pause(void) { __asm__ volatile("pause" : : : "memory"); }
static inline void serialise(void)
{
    uint32_t a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}
static inline void invlpg(const volatile void *p) { __asm__ volatile("invlpg (%0)" : : "r"(p) : "memory"); }

/* Returns when every vCPU is here. */
void meet(void);

/* interrupts.c */
void interrupts_init(unsigned vcpu);
void interrupt_others(unsigned vcpu);
extern void (*volatile on_interrupt)(unsigned vcpu);
extern volatile uint64_t page_faults;

/* events.c: a word a vCPU, read from outside. */
extern volatile uint64_t vcpu_counters[];

/* paging.c: a window of 4 KiB pages at 1 GiB. */
void window_init(void);
volatile uint64_t *window_entry(unsigned page);
void *window_page(unsigned page);

/* The acts. */
void spinlock_run(unsigned), ticket_run(unsigned), bits_run(unsigned), misaligned_run(unsigned), stack_run(unsigned);
int spinlock_check(void), ticket_check(void), bits_check(void), misaligned_check(void), stack_check(void);
void code_run(unsigned), patched_run(unsigned), shootdown_run(unsigned), marks_run(unsigned), requests_run(unsigned), counters_run(unsigned), race_run(unsigned);
int code_check(void), patched_check(void), shootdown_check(void), marks_check(void), requests_check(void), counters_check(void), race_check(void);

#endif
