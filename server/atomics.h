/* 64-bit and 32-bit numbers that several processes change in shared memory, in one order that all of them see. */
#ifndef JUKINET_ATOMICS_H
#define JUKINET_ATOMICS_H

#include <stdint.h>

static inline uint64_t jukinet_load(const uint64_t *place) { return __atomic_load_n(place, __ATOMIC_SEQ_CST); }

/* Whether *place was expected and is wanted now. */
static inline int jukinet_exchange(uint64_t *place, uint64_t expected, uint64_t wanted) {
    return __atomic_compare_exchange_n(place, &expected, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint32_t jukinet_count(const uint32_t *place) { return __atomic_load_n(place, __ATOMIC_SEQ_CST); }

static inline void jukinet_add(uint32_t *place, int32_t more) {
    __atomic_add_fetch(place, (uint32_t)more, __ATOMIC_SEQ_CST);
}

static inline void jukinet_clear(uint32_t *place) { __atomic_store_n(place, 0, __ATOMIC_SEQ_CST); }

#endif
