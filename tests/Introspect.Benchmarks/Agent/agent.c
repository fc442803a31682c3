/*
 * What an agent does with a sync event, in C: take the request out of the ring, decide, put the response, notify.
 * The same rules as the product's: indices read and written with acquire and release, the request copied out once
 * and its index checked against what a ring can hold.
 */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 8, SIZE = 400, FIRST = 64, VERSION = 7, CPUID = 10, SET_REGISTERS = 1 << 8 };

struct ring {
    uint8_t *page;
    uint32_t req_cons, rsp_prod;
};

struct event {
    uint32_t version, flags, reason, vcpu_id;
    uint8_t rest[SIZE - 16];
};

static uint32_t load(const uint8_t *at) { return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE); }
static void store(uint8_t *at, uint32_t value) { __atomic_store_n((uint32_t *)at, value, __ATOMIC_RELEASE); }

/* Answers what is there, one by one. Returns how many. */
int agent_answer(struct ring *ring, int fd)
{
    int answered = 0;
    for (;;) {
        struct event event;
        uint32_t produced = load(ring->page);
        if (produced - ring->rsp_prod > SLOTS || produced - ring->req_cons > SLOTS) {
            return -1;
        }
        if (produced == ring->req_cons) {
            return answered;
        }
        memcpy(&event, ring->page + FIRST + (ring->req_cons++ % SLOTS) * SIZE, sizeof event);
        if (event.version != VERSION) {
            return -1;
        }
        if (event.reason == CPUID) {
            uint64_t rip;
            uint32_t length;
            memcpy(&length, (uint8_t *)&event + 24, sizeof length);
            memcpy(&rip, (uint8_t *)&event + 208, sizeof rip);
            rip += length;
            memcpy((uint8_t *)&event + 208, &rip, sizeof rip);
            event.flags |= SET_REGISTERS;
        }
        memcpy(ring->page + FIRST + (ring->rsp_prod++ % SLOTS) * SIZE, &event, sizeof event);
        store(ring->page + 8, ring->rsp_prod);
        if (fd >= 0) {
            uint64_t one = 1;
            if (write(fd, &one, sizeof one) != sizeof one) {
                return -1;
            }
        }
        answered++;
    }
}
