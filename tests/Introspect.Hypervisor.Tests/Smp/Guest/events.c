/* Acts for whoever watches the guest: requests, counters that go on for ever, and a race that a schedule decides. */
#include "smp.h"

enum { HVM_OP = 34, GUEST_REQUEST = 24, VCPU_OP = 24 };

static volatile uint64_t lost ON_ITS_OWN_PAGE;
static volatile uint32_t winners[64] ON_ITS_OWN_PAGE;

/* One page a vCPU: the monitor reads them from outside. */
volatile uint64_t vcpu_counters[MAX_VCPUS] ON_ITS_OWN_PAGE;

/* Each request says by R12 and R13 whose it is and which. A function of its own: a place to watch. */
static __attribute__((noinline)) void request(unsigned vcpu, uint64_t n)
{
    register uint64_t r12 __asm__("r12") = vcpu;
    register uint64_t r13 __asm__("r13") = n;
    long number = GUEST_REQUEST, zero = 0;
    extern uint8_t hypercall_page[];
    uint8_t *entry = hypercall_page + HVM_OP * 32;
    __asm__ volatile("call *%2"
                     : "+D"(number), "+S"(zero), "+a"(entry)
                     : "d"(0L), "r"(r12), "r"(r13)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
}

/* A request, or a CPUID, in turns: the monitor makes one of them wait and not the other. */
void requests_run(unsigned vcpu)
{
    for (uint64_t n = 0; n < rounds; n++) {
        request(vcpu, n);
        if (n % 2 == vcpu % 2) {
            register uint64_t r12 __asm__("r12") = vcpu;
            register uint64_t r13 __asm__("r13") = n;
            uint32_t a = 0x40000001, b, c = 0, d;
            __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : "r"(r12), "r"(r13) : "memory");
        }
        vcpu_counters[vcpu]++;
    }
}

int requests_check(void)
{
    for (unsigned vcpu = 0; vcpu < vcpus; vcpu++) {
        if (vcpu_counters[vcpu] != rounds) {
            return 0;
        }
    }
    return 1;
}

/* Counts and asks for ever (rounds is 0), or that many times. */
void counters_run(unsigned vcpu)
{
    for (uint64_t n = 0; rounds == 0 || n < rounds; n++) {
        vcpu_counters[vcpu]++;
        request(vcpu, n);
        if (n % 4 == 0) {
            serialise();
        }
    }
}

int counters_check(void) { return requests_check(); }

/* An increment without a lock, in two steps: how much is lost is the interleaving's doing. */
void race_run(unsigned vcpu)
{
    for (uint64_t n = 0; n < rounds; n++) {
        uint64_t value = lost;
        for (volatile unsigned wait = 0; wait < (vcpu + n) % 7; wait++) {
        }
        lost = value + 1;
        if (n % 64 == 0) {
            winners[n / 64 % 64] = vcpu;
            request(vcpu, value);
        }
    }
}

int race_check(void)
{
    char digits[21];
    char *at = digits + 20;
    uint64_t value = lost;
    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    print("counted ");
    print(at);
    print(", winners");
    for (unsigned n = 0; n < 64 && n * 64 < rounds; n++) {
        print(" ");
        print_number(winners[n]);
    }
    print("\n");
    return 1;
}
