/* Sorting, recursion, arithmetic. */
#include "guest.h"

uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state;
}

void quicksort(uint32_t *values, int low, int high)
{
    if (low >= high) {
        return;
    }
    uint32_t pivot = values[low + (high - low) / 2];
    int i = low;
    int j = high;
    while (i <= j) {
        while (values[i] < pivot) {
            i++;
        }
        while (values[j] > pivot) {
            j--;
        }
        if (i <= j) {
            uint32_t v = values[i];
            values[i++] = values[j];
            values[j--] = v;
        }
    }
    quicksort(values, low, j);
    quicksort(values, i, high);
}

uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

uint32_t ackermann(uint32_t m, uint32_t n)
{
    return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

int arithmetic_check(void)
{
    volatile int32_t a = -1000003;
    volatile int32_t b = 977;
    volatile uint32_t u = 0xdeadbeef;
    int good = a / b == -1023 && a % b == -532 && (a >> 3) == -125001;
    good &= u / 10007 == 373331 && u % 10007 == 5242;

    volatile uint64_t wide = 0x0123456789abcdefull;
    good &= wide * 0x10001 == 0x468acf13579acdefull;
    good &= wide << 36 == 0x9abcdef000000000ull && wide >> 33 == 0x91a2b3;
    good &= (int64_t)(wide << 4) >> 60 == 1 && (int64_t)(wide << 32) >> 60 == -8;

    uint32_t bits = 0;
    for (uint32_t x = u; x != 0; x &= x - 1) {
        bits++;
    }
    uint32_t swapped = u;
    __asm__("bswap %0" : "+r"(swapped));
    uint32_t first;
    __asm__("bsr %1, %0" : "=r"(first) : "r"(0x00012345u) : "cc");
    return good && bits == 24 && swapped == 0xefbeadde && first == 16;
}
