/* A guest that computes, checks itself, says what it found, and powers off. */
#include "guest.h"

enum { BUFFER = 10000, VALUES = 2000 };

static uint8_t buffer[BUFFER];
static uint32_t values[VALUES];
static int failures;

static void verdict(const char *what, int good)
{
    print(what);
    print(good ? ": ok\n" : ": FAILED\n");
    failures += !good;
}

static void check_sha256(void)
{
    static const uint8_t abc[4] = { 0xba, 0x78, 0x16, 0xbf };
    uint8_t digest[32];
    sha256((const uint8_t *)"abc", 3, digest);
    verdict("sha256 of abc", memcmp(digest, abc, sizeof abc) == 0);

    uint32_t state = 1;
    for (int i = 0; i < BUFFER; i++) {
        buffer[i] = (uint8_t)(next_random(&state) >> 24);
    }
    sha256(buffer, BUFFER, digest);
    print("sha256 of the buffer: ");
    print_hex(digest, sizeof digest);
    print("\n");
}

static void check_sort(void)
{
    uint32_t state = 7;
    uint32_t sum = 0;
    for (int i = 0; i < VALUES; i++) {
        values[i] = next_random(&state);
        sum += values[i];
    }
    quicksort(values, 0, VALUES - 1);
    int sorted = 1;
    for (int i = 0; i < VALUES; i++) {
        sorted &= i == 0 || values[i - 1] <= values[i];
        sum -= values[i];
    }
    verdict("quicksort", sorted && sum == 0);
    print("median: ");
    print_number(values[VALUES / 2]);
    print("\n");
}

void guest_main(void)
{
    platform_init();
    print(sizeof(void *) == 8 ? "C guest, 64 bits\n" : "C guest, 32 bits\n");
    check_sha256();
    check_sort();
    verdict("strings", text_check());
    print("fibonacci of 18: ");
    print_number(fibonacci(18));
    print("\nackermann of 2, 9: ");
    print_number(ackermann(2, 9));
    print("\n");
    verdict("arithmetic", arithmetic_check());
    print(failures == 0 ? "result: PASS\n" : "result: FAIL\n");
    power_off(failures);
}
