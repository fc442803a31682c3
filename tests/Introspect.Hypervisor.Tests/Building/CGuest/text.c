/* Memory and strings: loops, and the string instructions. */
#include "guest.h"

void *memcpy(void *to, const void *from, size_t length)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    return start;
}

void *memmove(void *to, const void *from, size_t length)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (d <= s || d >= s + length) {
        return memcpy(to, from, length);
    }
    if (length != 0) {
        d += length - 1;
        s += length - 1;
        __asm__ volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(length) : : "memory", "cc");
    }
    return to;
}

void *memset(void *to, int value, size_t length)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (size_t i = 0; i < length; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;
    size_t left = (size_t)-1;
    __asm__ volatile("repne scasb" : "+D"(end), "+c"(left) : "a"(0) : "memory", "cc");
    return (size_t)(end - text) - 1;
}

static int same(const char *a, const char *b)
{
    size_t left = strlen(b) + 1;
    uint8_t equal;
    __asm__ volatile("cmp %%eax, %%eax; repe cmpsb; sete %0"
                     : "=r"(equal), "+S"(a), "+D"(b), "+c"(left) : : "memory", "cc");
    return equal;
}

static void reverse(char *text)
{
    for (size_t i = 0, j = strlen(text); i + 1 < j; i++) {
        char c = text[i];
        text[i] = text[--j];
        text[j] = c;
    }
}

static uint32_t words[64];

int text_check(void)
{
    char text[48] = "introspection";
    int good = strlen(text) == 13;
    reverse(text);
    good &= same(text, "noitcepsortni") && !same(text, "noitcepsortnI");
    memmove(text + 3, text, 14);
    good &= same(text, "noinoitcepsortni");
    memmove(text, text + 3, 14);
    good &= same(text, "noitcepsortni");
    memset(text, 'x', 5);
    good &= same(text, "xxxxxepsortni") && memcmp(text, "xxxxy", 5) < 0 && memcmp(text, "xxxxxz", 5) == 0;

    uint32_t *at = words;
    size_t count = 64;
    __asm__ volatile("rep stosl" : "+D"(at), "+c"(count) : "a"(0x01020304) : "memory");
    good &= at == words + 64 && words[0] == 0x01020304 && words[63] == 0x01020304;
    return good;
}
