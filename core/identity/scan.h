/* Scanning entries of one birth date by signature: how many of the bits that matter differ. */
#ifndef JUKINET_IDENTITY_SCAN_H
#define JUKINET_IDENTITY_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define JUKINET_SIGNATURE_SHIFT 34

/* Copies entries whose signature differs from `wanted` in at most `differ_max` of the bits of `care`; stops behind the
   one that passes `room`, which is not written, so the result is at most room + 1. */
#define JUKINET_SCAN_BODY                                                                                     \
    size_t kept = 0;                                                                                          \
    uint64_t high = (uint64_t)wanted << JUKINET_SIGNATURE_SHIFT, mask = (uint64_t)care << JUKINET_SIGNATURE_SHIFT; \
    for (size_t i = 0; i < count; i++) {                                                                      \
        if ((uint32_t)__builtin_popcountll((entries[i] ^ high) & mask) <= differ_max) {                       \
            if (kept == room) return room + 1;                                                                \
            out[kept++] = entries[i];                                                                         \
        }                                                                                                     \
    }                                                                                                         \
    return kept;

static size_t jukinet_scan_plain(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
    JUKINET_SCAN_BODY
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("popcnt"))) static size_t jukinet_scan_popcnt(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
    JUKINET_SCAN_BODY
}
#endif

static inline size_t jukinet_scan(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("popcnt"))
        return jukinet_scan_popcnt(entries, count, wanted, care, differ_max, out, room);
#endif
    return jukinet_scan_plain(entries, count, wanted, care, differ_max, out, room);
}

#endif
