/* What the parts of the guest know of each other. Freestanding: no header but the compiler's own. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

/* Console and power, with or without Xen (platform.c). */
void platform_init(void);
void print(const char *text);
void print_hex(const uint8_t *bytes, size_t length);
void print_number(uint32_t value);
void power_off(int failed) __attribute__((noreturn));

/* The compiler may call these by itself (text.c). */
void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *text);

int text_check(void);

/* sha256.c */
void sha256(const uint8_t *data, size_t length, uint8_t digest[32]);

/* numbers.c */
uint32_t next_random(uint32_t *state);
void quicksort(uint32_t *values, int low, int high);
uint32_t fibonacci(uint32_t n);
uint32_t ackermann(uint32_t m, uint32_t n);
int arithmetic_check(void);

#endif
