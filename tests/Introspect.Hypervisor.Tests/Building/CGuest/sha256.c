/* SHA-256 (FIPS 180-4). The constants are computed: cube and square roots of the first primes, in integers. */
#include "guest.h"

static uint32_t k[64];
static uint32_t h0[8];

/* The first 32 fractional bits of a root of degree 2 or 3, found bit by bit: x^degree <= prime * 2^(32 * degree). */
static uint32_t root_fraction(uint32_t prime, int degree)
{
    /* x < 8 * 2^32; powers are held in four words of 32 bits. */
    uint64_t x = 0;
    for (int bit = 35; bit >= 0; bit--) {
        uint64_t candidate = x | (uint64_t)1 << bit;
        uint32_t power[5] = { 1, 0, 0, 0, 0 };
        for (int d = 0; d < degree; d++) {
            uint32_t low = (uint32_t)candidate;
            uint32_t high = (uint32_t)(candidate >> 32);
            uint32_t next[5] = { 0, 0, 0, 0, 0 };
            uint64_t carry = 0;
            for (int i = 0; i < 5; i++) {
                uint64_t a = (uint64_t)power[i] * low + carry;
                next[i] = (uint32_t)a;
                carry = a >> 32;
            }
            carry = 0;
            for (int i = 1; i < 5; i++) {
                uint64_t a = (uint64_t)power[i - 1] * high + next[i] + carry;
                next[i] = (uint32_t)a;
                carry = a >> 32;
            }
            for (int i = 0; i < 5; i++) {
                power[i] = next[i];
            }
        }
        /* Compare with the prime at the word of weight 2^(32 * degree). */
        uint64_t top = power[degree];
        if (degree < 4) {
            top |= (uint64_t)power[degree + 1] << 32;
        }
        if (top < prime) {
            x = candidate;
        }
    }
    return (uint32_t)x;
}

static void make_constants(void)
{
    int found = 0;
    for (uint32_t n = 2; found < 64; n++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= n; d++) {
            if (n % d == 0) {
                prime = 0;
                break;
            }
        }
        if (prime) {
            k[found] = root_fraction(n, 3);
            if (found < 8) {
                h0[found] = root_fraction(n, 2);
            }
            found++;
        }
    }
}

static uint32_t ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }

    uint32_t v[8];
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + k[i] + w[i];
        uint32_t s0 = ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++) {
        h[i] += v[i];
    }
}

void sha256(const uint8_t *data, size_t length, uint8_t digest[32])
{
    if (k[0] == 0) {
        make_constants();
    }

    uint32_t h[8];
    memcpy(h, h0, sizeof h);
    size_t left = length;
    for (; left >= 64; left -= 64, data += 64) {
        block(h, data);
    }

    uint8_t last[128];
    memset(last, 0, sizeof last);
    memcpy(last, data, left);
    last[left] = 0x80;
    size_t size = left < 56 ? 64 : 128;
    uint64_t bits = (uint64_t)length * 8;
    for (int i = 0; i < 8; i++) {
        last[size - 1 - (size_t)i] = (uint8_t)(bits >> (8 * i));
    }
    for (size_t at = 0; at < size; at += 64) {
        block(h, last + at);
    }
    for (int i = 0; i < 32; i++) {
        digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
    }
}
