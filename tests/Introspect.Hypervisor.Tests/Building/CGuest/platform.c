/* Console and power: by hypercalls where Xen is found, else by the debug ports of an emulator. */
#include "guest.h"

enum { CONSOLE_IO = 18, SCHED_OP = 29, SHUTDOWN = 2, POWER_OFF = 0, CRASH = 3 };

extern uint8_t hypercall_page[];

static int have_xen;

static void cpuid(uint32_t leaf, uint32_t r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static long hypercall(unsigned number, long a, long b, long c)
{
    uint8_t *entry = hypercall_page + number * 32;
    long result;
#ifdef __x86_64__
    __asm__ volatile("call *%4"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
                     : "r"(entry)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
#else
    __asm__ volatile("call *%4"
                     : "=a"(result), "+b"(a), "+c"(b), "+d"(c)
                     : "0"(entry), "m"(*entry)
                     : "memory", "cc");
    (void)entry;
#endif
    return result;
}

void platform_init(void)
{
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        uint32_t r[4];
        cpuid(base, r);
        if (r[1] == 0x566e6558 && r[2] == 0x65584d4d && r[3] == 0x4d4d566e) {
            cpuid(base + 2, r);
            __asm__ volatile("wrmsr" : : "c"(r[1]), "a"((uint32_t)(uintptr_t)hypercall_page), "d"(0) : "memory");
            have_xen = 1;
            return;
        }
    }
}

void print(const char *text)
{
    size_t length = strlen(text);
    if (have_xen) {
        hypercall(CONSOLE_IO, 0, (long)length, (long)text);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        out8(0xe9, (uint8_t)text[i]);
    }
}

void print_hex(const uint8_t *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    char text[129];
    for (size_t i = 0; i < length && i < 64; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
        text[2 * i + 2] = 0;
    }
    print(text);
}

void print_number(uint32_t value)
{
    char text[11];
    char *at = text + sizeof text - 1;
    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    print(at);
}

void power_off(int failed)
{
    uint32_t reason = failed ? CRASH : POWER_OFF;
    if (have_xen) {
        hypercall(SCHED_OP, SHUTDOWN, (long)&reason, 0);
    } else {
        out8(0xf4, failed ? 0x11 : 0x10);
    }
    for (;;) {
        __asm__ volatile("hlt");
    }
}
