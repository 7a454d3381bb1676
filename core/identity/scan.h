/* Scanning entries of the identity index: those of one birth date by signature, those of one text by date.

   Each has forms that give the same: plain, with the processor's count of bits, and eight entries at a time. */
#ifndef JUKINET_IDENTITY_SCAN_H
#define JUKINET_IDENTITY_SCAN_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define JUKINET_SCAN_WIDE __attribute__((target("avx512f,avx512vpopcntdq,popcnt")))
#define JUKINET_SCAN_POPCNT __attribute__((target("popcnt")))
#endif

#define JUKINET_SIGNATURE_SHIFT 34
#define JUKINET_DATE_SHIFT 34
#define JUKINET_DATE_MASK ((uint64_t)0x3FFFF)
#define JUKINET_REST_SHIFT 52

/* A date code agrees when (code ^ value) & mask is 0. */
typedef struct { uint32_t value, mask; } jukinet_date_filter;

/* The form in use: 0 plain, 1 with popcnt, 2 eight at a time. */
static int jukinet_scan_form = 0;

/* The best form that this processor has. */
static inline int jukinet_scan_form_best(void) {
#ifdef JUKINET_SCAN_WIDE
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vpopcntdq")) return 2;
    if (__builtin_cpu_supports("popcnt")) return 1;
#endif
    return 0;
}

#define JUKINET_SCAN_REST                                                                                     \
    for (; i < count; i++) {                                                                                  \
        if ((uint32_t)__builtin_popcountll((entries[i] ^ high) & mask) <= differ_max) {                       \
            if (kept == room) return room + 1;                                                                \
            out[kept++] = entries[i];                                                                         \
        }                                                                                                     \
    }                                                                                                         \
    return kept;

static size_t jukinet_scan_plain(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
    size_t kept = 0, i = 0;
    uint64_t high = (uint64_t)wanted << JUKINET_SIGNATURE_SHIFT, mask = (uint64_t)care << JUKINET_SIGNATURE_SHIFT;
    JUKINET_SCAN_REST
}

#ifdef JUKINET_SCAN_POPCNT
JUKINET_SCAN_POPCNT static size_t jukinet_scan_popcnt(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
    size_t kept = 0, i = 0;
    uint64_t high = (uint64_t)wanted << JUKINET_SIGNATURE_SHIFT, mask = (uint64_t)care << JUKINET_SIGNATURE_SHIFT;
    JUKINET_SCAN_REST
}
#endif

static inline int jukinet_date_agrees(uint64_t entry, const jukinet_date_filter *filters, uint32_t filters_count) {
    uint32_t code = (uint32_t)(entry >> JUKINET_DATE_SHIFT & JUKINET_DATE_MASK);
    for (uint32_t k = 0; k < filters_count; k++)
        if (((code ^ filters[k].value) & filters[k].mask) == 0) return 1;
    return filters_count == 0;
}

#define JUKINET_LIST_ONE(entry)                                                                               \
    if (kept == room) return room + 1;                                                                        \
    keys[kept] = (entry) & (((uint64_t)1 << JUKINET_DATE_SHIFT) - 1);                                         \
    codes[kept++] = (uint32_t)((entry) >> JUKINET_DATE_SHIFT & JUKINET_DATE_MASK);

#define JUKINET_LIST_REST                                                                                     \
    for (; i < count && entries[i] >> JUKINET_REST_SHIFT == rest; i++) {                                      \
        if (jukinet_date_agrees(entries[i], filters, filters_count)) { JUKINET_LIST_ONE(entries[i]) }         \
    }                                                                                                         \
    *visited = i;                                                                                             \
    return kept;

static size_t jukinet_list_plain(
    const uint64_t *entries, size_t count, uint64_t rest, const jukinet_date_filter *filters, uint32_t filters_count,
    uint64_t *keys, uint32_t *codes, size_t room, size_t *visited) {
    size_t kept = 0, i = 0;
    JUKINET_LIST_REST
}

#ifdef JUKINET_SCAN_WIDE
JUKINET_SCAN_WIDE static size_t jukinet_scan_wide(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
    size_t kept = 0, i = 0;
    uint64_t high = (uint64_t)wanted << JUKINET_SIGNATURE_SHIFT, mask = (uint64_t)care << JUKINET_SIGNATURE_SHIFT;
    __m512i highs = _mm512_set1_epi64((long long)high), masks = _mm512_set1_epi64((long long)mask);
    __m512i most = _mm512_set1_epi64((long long)differ_max);
    for (; i + 8 <= count; i += 8) {
        __m512i differ = _mm512_and_si512(_mm512_xor_si512(_mm512_loadu_si512(entries + i), highs), masks);
        uint32_t near = _mm512_cmple_epu64_mask(_mm512_popcnt_epi64(differ), most);
        for (; near; near &= near - 1) {
            if (kept == room) return room + 1;
            out[kept++] = entries[i + (size_t)__builtin_ctz(near)];
        }
    }
    JUKINET_SCAN_REST
}

JUKINET_SCAN_WIDE static size_t jukinet_list_wide(
    const uint64_t *entries, size_t count, uint64_t rest, const jukinet_date_filter *filters, uint32_t filters_count,
    uint64_t *keys, uint32_t *codes, size_t room, size_t *visited) {
    size_t kept = 0, i = 0;
    __m512i rests = _mm512_set1_epi64((long long)rest);
    for (; i + 8 <= count; i += 8) {
        __m512i eight = _mm512_loadu_si512(entries + i);
        uint32_t found = filters_count == 0 ? 0xFF : 0;
        if (_mm512_cmpeq_epi64_mask(_mm512_srli_epi64(eight, JUKINET_REST_SHIFT), rests) != 0xFF) break;
        for (uint32_t k = 0; k < filters_count; k++) {
            __m512i value = _mm512_set1_epi64((long long)((uint64_t)filters[k].value << JUKINET_DATE_SHIFT));
            __m512i mask = _mm512_set1_epi64((long long)((uint64_t)filters[k].mask << JUKINET_DATE_SHIFT));
            found |= _mm512_testn_epi64_mask(_mm512_xor_si512(eight, value), mask);
        }
        for (; found; found &= found - 1) {
            uint64_t entry = entries[i + (size_t)__builtin_ctz(found)];
            JUKINET_LIST_ONE(entry)
        }
    }
    JUKINET_LIST_REST
}
#endif

/* Copies entries whose signature differs from `wanted` in at most `differ_max` of the bits of `care`; stops behind the
   one that passes `room`, which is not written, so the result is at most room + 1. */
static inline size_t jukinet_scan(
    const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
    size_t room) {
#ifdef JUKINET_SCAN_WIDE
    if (jukinet_scan_form == 2) return jukinet_scan_wide(entries, count, wanted, care, differ_max, out, room);
    if (jukinet_scan_form == 1) return jukinet_scan_popcnt(entries, count, wanted, care, differ_max, out, room);
#endif
    return jukinet_scan_plain(entries, count, wanted, care, differ_max, out, room);
}

/* Keys and date codes of the leading entries that have this rest and agree with one of the filters (without filters:
   all). Stops behind the one that passes `room`, which is not written, and says room + 1; else `visited` is set to the
   number of entries that have the rest. */
static inline size_t jukinet_list(
    const uint64_t *entries, size_t count, uint64_t rest, const jukinet_date_filter *filters, uint32_t filters_count,
    uint64_t *keys, uint32_t *codes, size_t room, size_t *visited) {
#ifdef JUKINET_SCAN_WIDE
    if (jukinet_scan_form == 2)
        return jukinet_list_wide(entries, count, rest, filters, filters_count, keys, codes, room, visited);
#endif
    return jukinet_list_plain(entries, count, rest, filters, filters_count, keys, codes, room, visited);
}

#endif
