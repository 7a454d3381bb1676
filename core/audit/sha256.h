/* SHA-256 (FIPS 180-4) of whole messages: with the processor's SHA instructions where it has them, one message or two
   at a time, otherwise in portable C. Two at a time because one round waits for the one before it. */
#ifndef JUKINET_SHA256_H
#define JUKINET_SHA256_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static const uint32_t jukinet_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t jukinet_sha256_start[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

#define JUKINET_SHA256_BLOCK 64
#define JUKINET_SHA256_ROTATE(word, bits) (((word) >> (bits)) | ((word) << (32 - (bits))))

static inline uint32_t jukinet_sha256_load(const unsigned char *data) {
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

static void jukinet_sha256_blocks_portable(uint32_t *state, const unsigned char *data, size_t blocks) {
    uint32_t w[64];
    for (; blocks > 0; blocks--, data += JUKINET_SHA256_BLOCK) {
        uint32_t s[8];
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 16; i++) w[i] = jukinet_sha256_load(data + 4 * i);
        for (int i = 16; i < 64; i++) {
            uint32_t a = JUKINET_SHA256_ROTATE(w[i - 15], 7) ^ JUKINET_SHA256_ROTATE(w[i - 15], 18) ^ (w[i - 15] >> 3);
            uint32_t b = JUKINET_SHA256_ROTATE(w[i - 2], 17) ^ JUKINET_SHA256_ROTATE(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + a + w[i - 7] + b;
        }
        for (int i = 0; i < 64; i++) {
            uint32_t e = JUKINET_SHA256_ROTATE(s[4], 6) ^ JUKINET_SHA256_ROTATE(s[4], 11) ^ JUKINET_SHA256_ROTATE(s[4], 25);
            uint32_t t = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + jukinet_sha256_k[i] + w[i];
            uint32_t a = JUKINET_SHA256_ROTATE(s[0], 2) ^ JUKINET_SHA256_ROTATE(s[0], 13) ^ JUKINET_SHA256_ROTATE(s[0], 22);
            uint32_t u = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof s[0]);
            s[4] += t;
            s[0] = t + u;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

static int jukinet_sha256_native = 0;

#if defined(__x86_64__)
#include <immintrin.h>
#define JUKINET_SHA256_TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* The instructions keep the state as (ABEF, CDGH). */
#define JUKINET_SHA256_OPEN(state, s0, s1)                                           \
    {                                                                                \
        __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state)), 0xB1);       \
        __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)((state) + 4)), 0x1B); \
        s0 = _mm_alignr_epi8(low, high, 8);                                          \
        s1 = _mm_blend_epi16(high, low, 0xF0);                                       \
    }
#define JUKINET_SHA256_CLOSE(state, s0, s1)                                          \
    {                                                                                \
        __m128i low = _mm_shuffle_epi32(s0, 0x1B), high = _mm_shuffle_epi32(s1, 0xB1); \
        _mm_storeu_si128((__m128i *)(state), _mm_blend_epi16(low, high, 0xF0));      \
        _mm_storeu_si128((__m128i *)((state) + 4), _mm_alignr_epi8(high, low, 8));   \
    }
#define JUKINET_SHA256_WORDS(w, i)                                                                                  \
    w[(i) & 3] = _mm_sha256msg2_epu32(                                                                              \
        _mm_add_epi32(_mm_sha256msg1_epu32(w[(i) & 3], w[((i) + 1) & 3]), _mm_alignr_epi8(w[((i) + 3) & 3], w[((i) + 2) & 3], 4)), \
        w[((i) + 3) & 3]);
#define JUKINET_SHA256_FOUR(w, i, s0, s1)                                                                           \
    {                                                                                                               \
        __m128i sum = _mm_add_epi32(w[(i) & 3], _mm_loadu_si128((const __m128i *)(jukinet_sha256_k + 4 * (i))));    \
        s1 = _mm_sha256rnds2_epu32(s1, s0, sum);                                                                    \
        s0 = _mm_sha256rnds2_epu32(s0, s1, _mm_shuffle_epi32(sum, 0x0E));                                           \
    }

JUKINET_SHA256_TARGET static void jukinet_sha256_blocks_native(uint32_t *state, const unsigned char *data, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i s0, s1, w[4];
    JUKINET_SHA256_OPEN(state, s0, s1)
    for (; blocks > 0; blocks--, data += JUKINET_SHA256_BLOCK) {
        const __m128i before0 = s0, before1 = s1;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
            JUKINET_SHA256_FOUR(w, i, s0, s1)
        }
#pragma GCC unroll 12
        for (int i = 4; i < 16; i++) {
            JUKINET_SHA256_WORDS(w, i)
            JUKINET_SHA256_FOUR(w, i, s0, s1)
        }
        s0 = _mm_add_epi32(s0, before0);
        s1 = _mm_add_epi32(s1, before1);
    }
    JUKINET_SHA256_CLOSE(state, s0, s1)
}

JUKINET_SHA256_TARGET static void jukinet_sha256_pair_native(uint32_t *one, uint32_t *two, const unsigned char *data_one,
                                                             const unsigned char *data_two, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i s0, s1, t0, t1, w[4], x[4];
    JUKINET_SHA256_OPEN(one, s0, s1)
    JUKINET_SHA256_OPEN(two, t0, t1)
    for (; blocks > 0; blocks--, data_one += JUKINET_SHA256_BLOCK, data_two += JUKINET_SHA256_BLOCK) {
        const __m128i before0 = s0, before1 = s1, former0 = t0, former1 = t1;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data_one + 16 * i)), swap);
            x[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data_two + 16 * i)), swap);
            JUKINET_SHA256_FOUR(w, i, s0, s1)
            JUKINET_SHA256_FOUR(x, i, t0, t1)
        }
#pragma GCC unroll 12
        for (int i = 4; i < 16; i++) {
            JUKINET_SHA256_WORDS(w, i)
            JUKINET_SHA256_WORDS(x, i)
            JUKINET_SHA256_FOUR(w, i, s0, s1)
            JUKINET_SHA256_FOUR(x, i, t0, t1)
        }
        s0 = _mm_add_epi32(s0, before0);
        s1 = _mm_add_epi32(s1, before1);
        t0 = _mm_add_epi32(t0, former0);
        t1 = _mm_add_epi32(t1, former1);
    }
    JUKINET_SHA256_CLOSE(one, s0, s1)
    JUKINET_SHA256_CLOSE(two, t0, t1)
}

static int jukinet_sha256_machine_has(void) {
    unsigned int a, b, c, d;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.1") || !__builtin_cpu_supports("ssse3")) return 0;
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    if (a < 7) return 0;
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    return (b >> 29) & 1; /* leaf 7, EBX bit 29: SHA */
}
#else
static int jukinet_sha256_machine_has(void) { return 0; }
#endif

/* 1: choose by machine; 0: portable, so that tests reach it. */
static void jukinet_sha256_choose(int native) { jukinet_sha256_native = native && jukinet_sha256_machine_has(); }

static inline void jukinet_sha256_blocks(uint32_t *state, const unsigned char *data, size_t blocks) {
#if defined(__x86_64__)
    if (jukinet_sha256_native) {
        jukinet_sha256_blocks_native(state, data, blocks);
        return;
    }
#endif
    jukinet_sha256_blocks_portable(state, data, blocks);
}

/* Two messages of as many blocks. */
static inline void jukinet_sha256_pair(uint32_t *one, uint32_t *two, const unsigned char *data_one,
                                       const unsigned char *data_two, size_t blocks) {
#if defined(__x86_64__)
    if (jukinet_sha256_native) {
        jukinet_sha256_pair_native(one, two, data_one, data_two, blocks);
        return;
    }
#endif
    jukinet_sha256_blocks_portable(one, data_one, blocks);
    jukinet_sha256_blocks_portable(two, data_two, blocks);
}

static inline void jukinet_sha256_begin(uint32_t *state) { memcpy(state, jukinet_sha256_start, 32); }

static inline void jukinet_sha256_end(const uint32_t *state, unsigned char *digest) {
    for (int i = 0; i < 8; i++) {
        uint32_t word = htobe32(state[i]);
        memcpy(digest + 4 * i, &word, 4);
    }
}

/* Lay out the padding behind ``used`` bytes of a block of 64 or 128 bytes in all, of a message of ``total`` bytes: blocks. */
static inline size_t jukinet_sha256_pad(unsigned char *block, size_t used, uint64_t total) {
    size_t blocks = used < 56 ? 1 : 2, end = blocks * JUKINET_SHA256_BLOCK;
    memset(block + used, 0, end - used);
    block[used] = 0x80;
    for (int i = 0; i < 8; i++) block[end - 1 - i] = (unsigned char)(total * 8 >> (8 * i));
    return blocks;
}

/* A message of ``front_bytes`` < 64 and ``data`` behind it. */
static inline void jukinet_sha256_two_pieces(const unsigned char *front, size_t front_bytes, const unsigned char *data,
                                             size_t data_bytes, unsigned char *digest) {
    uint32_t state[8];
    unsigned char block[2 * JUKINET_SHA256_BLOCK];
    const uint64_t total = (uint64_t)front_bytes + data_bytes;
    size_t used = front_bytes;
    jukinet_sha256_begin(state);
    if (front_bytes) memcpy(block, front, front_bytes);
    if (used + data_bytes >= JUKINET_SHA256_BLOCK) {
        if (used) {
            size_t taken = JUKINET_SHA256_BLOCK - used;
            memcpy(block + used, data, taken);
            jukinet_sha256_blocks(state, block, 1);
            data += taken;
            data_bytes -= taken;
        }
        jukinet_sha256_blocks(state, data, data_bytes / JUKINET_SHA256_BLOCK);
        data += data_bytes / JUKINET_SHA256_BLOCK * JUKINET_SHA256_BLOCK;
        data_bytes %= JUKINET_SHA256_BLOCK;
        used = 0;
    }
    if (data_bytes) memcpy(block + used, data, data_bytes);
    used += data_bytes;
    jukinet_sha256_blocks(state, block, jukinet_sha256_pad(block, used, total));
    jukinet_sha256_end(state, digest);
}

/* Two such messages of the same lengths. */
static inline void jukinet_sha256_two_pieces_pair(const unsigned char *front_one, const unsigned char *front_two,
                                                  size_t front_bytes, const unsigned char *one, const unsigned char *two,
                                                  size_t data_bytes, unsigned char *digest_one, unsigned char *digest_two) {
    uint32_t state[2][8];
    unsigned char block[2][2 * JUKINET_SHA256_BLOCK];
    const uint64_t total = (uint64_t)front_bytes + data_bytes;
    size_t used = front_bytes, whole;
    jukinet_sha256_begin(state[0]);
    jukinet_sha256_begin(state[1]);
    if (front_bytes) {
        memcpy(block[0], front_one, front_bytes);
        memcpy(block[1], front_two, front_bytes);
    }
    if (used + data_bytes >= JUKINET_SHA256_BLOCK) {
        if (used) {
            size_t taken = JUKINET_SHA256_BLOCK - used;
            memcpy(block[0] + used, one, taken);
            memcpy(block[1] + used, two, taken);
            jukinet_sha256_pair(state[0], state[1], block[0], block[1], 1);
            one += taken;
            two += taken;
            data_bytes -= taken;
        }
        whole = data_bytes / JUKINET_SHA256_BLOCK;
        jukinet_sha256_pair(state[0], state[1], one, two, whole);
        one += whole * JUKINET_SHA256_BLOCK;
        two += whole * JUKINET_SHA256_BLOCK;
        data_bytes -= whole * JUKINET_SHA256_BLOCK;
        used = 0;
    }
    if (data_bytes) {
        memcpy(block[0] + used, one, data_bytes);
        memcpy(block[1] + used, two, data_bytes);
    }
    used += data_bytes;
    whole = jukinet_sha256_pad(block[0], used, total);
    jukinet_sha256_pad(block[1], used, total);
    jukinet_sha256_pair(state[0], state[1], block[0], block[1], whole);
    jukinet_sha256_end(state[0], digest_one);
    jukinet_sha256_end(state[1], digest_two);
}

/* Two such messages of any lengths up to JUKINET_SHA256_SHORT each: side by side as far as the shorter one goes. */
#define JUKINET_SHA256_SHORT 1000
static inline void jukinet_sha256_two_pieces_mixed(const unsigned char *front_one, const unsigned char *front_two,
                                                   size_t front_bytes, const unsigned char *one, size_t one_bytes,
                                                   const unsigned char *two, size_t two_bytes,
                                                   unsigned char *digest_one, unsigned char *digest_two) {
    uint32_t state[2][8];
    unsigned char laid[2][JUKINET_SHA256_SHORT + 2 * JUKINET_SHA256_BLOCK];
    size_t total[2] = {front_bytes + one_bytes, front_bytes + two_bytes}, blocks[2], both;
    memcpy(laid[0], front_one, front_bytes);
    memcpy(laid[1], front_two, front_bytes);
    memcpy(laid[0] + front_bytes, one, one_bytes);
    memcpy(laid[1] + front_bytes, two, two_bytes);
    for (int i = 0; i < 2; i++) {
        size_t whole = total[i] / JUKINET_SHA256_BLOCK;
        unsigned char *tail = laid[i] + whole * JUKINET_SHA256_BLOCK;
        blocks[i] = whole + jukinet_sha256_pad(tail, total[i] % JUKINET_SHA256_BLOCK, total[i]);
        jukinet_sha256_begin(state[i]);
    }
    both = blocks[0] < blocks[1] ? blocks[0] : blocks[1];
    jukinet_sha256_pair(state[0], state[1], laid[0], laid[1], both);
    for (int i = 0; i < 2; i++) {
        jukinet_sha256_blocks(state[i], laid[i] + both * JUKINET_SHA256_BLOCK, blocks[i] - both);
    }
    jukinet_sha256_end(state[0], digest_one);
    jukinet_sha256_end(state[1], digest_two);
}

/* RFC 6962, 2.1: H(0x01 || left || right) of hashes that lie side by side; ``digest`` may be where they lie. */
static inline void jukinet_sha256_node(const unsigned char *children, unsigned char *digest) {
    uint32_t state[8];
    unsigned char block[2 * JUKINET_SHA256_BLOCK];
    block[0] = 1;
    memcpy(block + 1, children, 64);
    jukinet_sha256_begin(state);
    jukinet_sha256_blocks(state, block, jukinet_sha256_pad(block, 65, 65));
    jukinet_sha256_end(state, digest);
}

static inline void jukinet_sha256_node_pair(const unsigned char *children, unsigned char *digests) {
    uint32_t one[8], two[8];
    unsigned char block[2][2 * JUKINET_SHA256_BLOCK];
    for (int i = 0; i < 2; i++) {
        block[i][0] = 1;
        memcpy(block[i] + 1, children + 64 * i, 64);
        jukinet_sha256_pad(block[i], 65, 65);
    }
    jukinet_sha256_begin(one);
    jukinet_sha256_begin(two);
    jukinet_sha256_pair(one, two, block[0], block[1], 2);
    jukinet_sha256_end(one, digests);
    jukinet_sha256_end(two, digests + 32);
}

/* RFC 6962, 2.1: H(0x00 || entry) of two entries of ``length`` bytes that lie one behind the other, 55 < length < 119. */
static inline void jukinet_sha256_leaf_pair(const unsigned char *entries, size_t length, unsigned char *digests) {
    uint32_t one[8], two[8];
    unsigned char block[2][2 * JUKINET_SHA256_BLOCK];
    for (int i = 0; i < 2; i++) {
        block[i][0] = 0;
        memcpy(block[i] + 1, entries + length * i, length);
        memset(block[i] + 1 + length, 0, 2 * JUKINET_SHA256_BLOCK - 1 - length);
        block[i][1 + length] = 0x80;
        block[i][126] = (unsigned char)((length + 1) >> 5);
        block[i][127] = (unsigned char)((length + 1) << 3);
    }
    jukinet_sha256_begin(one);
    jukinet_sha256_begin(two);
    jukinet_sha256_pair(one, two, block[0], block[1], 2);
    jukinet_sha256_end(one, digests);
    jukinet_sha256_end(two, digests + 32);
}

/* The level above ``count`` hashes, in their place: its number of hashes. A last one without a sibling goes up as it is. */
static inline size_t jukinet_sha256_level(unsigned char *hashes, size_t count) {
    size_t pairs = count / 2, i = 0;
    for (; i + 2 <= pairs; i += 2) jukinet_sha256_node_pair(hashes + 64 * i, hashes + 32 * i);
    for (; i < pairs; i++) jukinet_sha256_node(hashes + 64 * i, hashes + 32 * i);
    if (count & 1) memmove(hashes + 32 * pairs, hashes + 32 * (count - 1), 32);
    return pairs + (count & 1);
}

/* Root of ``count`` >= 1 hashes, which are overwritten; the root is then the first. */
static inline void jukinet_sha256_fold(unsigned char *hashes, size_t count) {
    while (count > 1) count = jukinet_sha256_level(hashes, count);
}

#endif
