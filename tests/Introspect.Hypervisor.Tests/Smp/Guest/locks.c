/* Acts about locked instructions. Every counter ends at a sum that is known beforehand. */
#include "smp.h"

static volatile uint32_t lock ON_ITS_OWN_PAGE;
static volatile uint64_t counter ON_ITS_OWN_PAGE;
static volatile uint32_t next_ticket ON_ITS_OWN_PAGE, now_serving;
static volatile uint64_t words[8] ON_ITS_OWN_PAGE;
static volatile uint8_t span[2 * PAGE] ON_ITS_OWN_PAGE;

void spinlock_run(unsigned vcpu)
{
    (void)vcpu;
    for (uint64_t n = 0; n < rounds; n++) {
        for (;;) {
            uint32_t taken = 1;
            __asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(lock) : : "memory");
            if (taken == 0) {
                break;
            }
            while (lock != 0) {
                pause();
            }
        }
        counter = counter + 1;
        lock = 0;
    }
}

int spinlock_check(void) { return counter == vcpus * rounds && lock == 0; }

void ticket_run(unsigned vcpu)
{
    (void)vcpu;
    for (uint64_t n = 0; n < rounds; n++) {
        uint32_t mine = 1;
        __asm__ volatile("lock xaddl %0, %1" : "+r"(mine), "+m"(next_ticket) : : "memory", "cc");
        while (now_serving != mine) {
            pause();
        }
        counter = counter + 1;
        now_serving = mine + 1;
    }
}

int ticket_check(void) { return counter == vcpus * rounds && next_ticket == counter && now_serving == next_ticket; }

/* Each vCPU flips, sets and clears bits of its own in words that all share, and counts by cmpxchg8b, adc, dec and neg. */
void bits_run(unsigned vcpu)
{
    uint64_t own = vcpu % 64;
    uint8_t seen = 0, was;
    for (uint64_t n = 0; n < rounds; n++) {
        __asm__ volatile("lock btsq %2, %1; setc %0" : "=q"(was), "+m"(words[0]) : "r"(own) : "memory", "cc");
        seen |= was;
        __asm__ volatile("lock btcq %1, %0" : "+m"(words[1]) : "r"(own) : "memory", "cc");
        __asm__ volatile("lock btrq %2, %1; setc %0" : "=q"(was), "+m"(words[0]) : "r"(own) : "memory", "cc");
        seen |= !was;
        uint32_t low = (uint32_t)words[2], high = (uint32_t)(words[2] >> 32);
        do {
            uint64_t next = (low | (uint64_t)high << 32) + 0x100000001;
            __asm__ volatile("lock cmpxchg8b %3; setz %0"
                             : "=q"(was), "+a"(low), "+d"(high), "+m"(words[2])
                             : "b"((uint32_t)next), "c"((uint32_t)(next >> 32)) : "memory", "cc");
        } while (!was);
        __asm__ volatile("stc; lock adcq $0, %0" : "+m"(words[3]) : : "memory", "cc");
        __asm__ volatile("lock decq %0" : "+m"(words[4]) : : "memory", "cc");
        __asm__ volatile("lock incb %0" : "+m"(words[5]) : : "memory", "cc");
        __asm__ volatile("lock incw %0" : "+m"(*((volatile uint16_t *)&words[5] + 1)) : : "memory", "cc");
    }
    if (seen) {
        __asm__ volatile("lock incq %0" : "+m"(words[6]) : : "memory", "cc");
    }
}

int bits_check(void)
{
    uint64_t all = vcpus * rounds;
    return words[0] == 0 && words[1] == (rounds % 2 == 0 ? 0 : (1ULL << vcpus) - 1) && words[2] == all * 0x100000001
        && words[3] == all && words[4] == -all && (words[5] & 0xff) == (all & 0xff) && (words[5] >> 16 & 0xffff) == (all & 0xffff)
        && words[6] == 0;
}

/*
 * A quadword in two pages, in which half of the vCPUs count both halves at once and the others the lower half alone;
 * a doubleword in two pages that is exchanged; and one in two cache lines.
 */
void misaligned_run(unsigned vcpu)
{
    volatile uint64_t *wide = (volatile uint64_t *)(span + PAGE - 4);
    volatile uint32_t *half = (volatile uint32_t *)(span + PAGE - 4);
    volatile uint64_t *lines = (volatile uint64_t *)(span + 60);
    for (uint64_t n = 0; n < rounds; n++) {
        if (vcpu % 2 == 0) {
            __asm__ volatile("lock addq %1, %0" : "+m"(*wide) : "r"(0x100000001) : "memory", "cc");
        } else {
            __asm__ volatile("lock incl %0" : "+m"(*half) : : "memory", "cc");
        }
        __asm__ volatile("lock incq %0" : "+m"(*lines) : : "memory", "cc");
        uint64_t old = 0x100000000;
        __asm__ volatile("lock xaddq %0, %1" : "+r"(old), "+m"(*wide) : : "memory", "cc");
    }
}

int misaligned_check(void)
{
    volatile uint64_t *wide = (volatile uint64_t *)(span + PAGE - 4);
    volatile uint64_t *lines = (volatile uint64_t *)(span + 60);
    uint64_t both = (vcpus + 1) / 2 * rounds, all = vcpus * rounds;
    return *wide == (all | (all + both) << 32) && *lines == all;
}

/* A stack without a lock: its head is a pointer and a count, exchanged together. */
struct node {
    struct node *next;
    uint64_t owner;
};

enum { NODES = 8 };

static struct node nodes[MAX_VCPUS][NODES] ON_ITS_OWN_PAGE;
static volatile struct { struct node *first; uint64_t changes; } head ON_ITS_OWN_PAGE;

static int exchange(struct node **first, uint64_t *changes, struct node *next)
{
    uint8_t done;
    __asm__ volatile("lock cmpxchg16b %3; setz %0"
                     : "=q"(done), "+a"(*first), "+d"(*changes), "+m"(head)
                     : "b"(next), "c"(*changes + 1) : "memory", "cc");
    return done;
}

static void push(struct node *node)
{
    struct node *first = head.first;
    uint64_t changes = head.changes;
    do {
        node->next = first;
    } while (!exchange(&first, &changes, node));
}

static struct node *pop(void)
{
    struct node *first = head.first;
    uint64_t changes = head.changes;
    while (first != NULL && !exchange(&first, &changes, first->next)) {
    }
    return first;
}

void stack_run(unsigned vcpu)
{
    for (unsigned n = 0; n < NODES; n++) {
        push(&nodes[vcpu][n]);
    }
    for (uint64_t n = 0; n < rounds; n++) {
        struct node *a = pop(), *b = pop();
        if (a != NULL) {
            a->owner++;
            push(a);
        }
        if (b != NULL) {
            b->owner++;
            push(b);
        }
    }
}

int stack_check(void)
{
    uint64_t found = 0;
    for (struct node *node = head.first; node != NULL && found <= vcpus * NODES; node = node->next) {
        found++;
    }
    return found == vcpus * NODES && head.changes >= found;
}
