/* BLAKE2b with a 16-byte digest and no key (RFC 7693): one message at a time, or several at once where the machine has
   wide registers. Digests are given as two little-endian words, low first. */
#ifndef JUKINET_BLAKE2B_H
#define JUKINET_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JUKINET_BLAKE2B_BLOCK_BYTES 128
#define JUKINET_BLAKE2B_LANES 8
/* Parameter block of RFC 7693, section 2.5: digest of 16 bytes, no key, fanout 1, depth 1. */
#define JUKINET_BLAKE2B_PARAMETERS 0x01010010ULL

/* Section 2.6: the first 64 bits of the fractional parts of the square roots of the first eight primes. */
static const uint64_t jukinet_blake2b_iv[8] = {
    0x6A09E667F3BCC908ULL, 0xBB67AE8584CAA73BULL, 0x3C6EF372FE94F82BULL, 0xA54FF53A5F1D36F1ULL,
    0x510E527FADE682D1ULL, 0x9B05688C2B3E6C1FULL, 0x1F83D9ABFB41BD6BULL, 0x5BE0CD19137E2179ULL,
};

/* Section 2.7 as a sequence of rounds; rounds 10 and 11 repeat 0 and 1. STEP mixes words a, b, c, d with two words of the
   message. The schedule is spelled out so that every index is a constant. */
#define JUKINET_BLAKE2B_ROUND(STEP, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                 \
    STEP(0, 4, 8, 12, s0, s1)                                                                                             \
    STEP(1, 5, 9, 13, s2, s3)                                                                                             \
    STEP(2, 6, 10, 14, s4, s5)                                                                                            \
    STEP(3, 7, 11, 15, s6, s7)                                                                                            \
    STEP(0, 5, 10, 15, s8, s9)                                                                                            \
    STEP(1, 6, 11, 12, s10, s11)                                                                                          \
    STEP(2, 7, 8, 13, s12, s13)                                                                                           \
    STEP(3, 4, 9, 14, s14, s15)

#define JUKINET_BLAKE2B_ROUNDS(STEP)                                                                                      \
    JUKINET_BLAKE2B_ROUND(STEP, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)                                     \
    JUKINET_BLAKE2B_ROUND(STEP, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)

#define JUKINET_ROTATE_RIGHT(word, bits) (((word) >> (bits)) | ((word) << (64 - (bits))))

/* Section 3.1. v and m are arrays of words, or of vectors that hold the same word of several messages. */
#define JUKINET_BLAKE2B_STEP(a, b, c, d, x, y)                                                                            \
    v[a] += v[b] + m[x];                                                                                                  \
    v[d] = JUKINET_ROTATE_RIGHT(v[d] ^ v[a], 32);                                                                         \
    v[c] += v[d];                                                                                                         \
    v[b] = JUKINET_ROTATE_RIGHT(v[b] ^ v[c], 24);                                                                         \
    v[a] += v[b] + m[y];                                                                                                  \
    v[d] = JUKINET_ROTATE_RIGHT(v[d] ^ v[a], 16);                                                                         \
    v[c] += v[d];                                                                                                         \
    v[b] = JUKINET_ROTATE_RIGHT(v[b] ^ v[c], 63);

static inline uint64_t jukinet_little_word(const unsigned char *data) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;
    memcpy(&word, data, 8);
    return word;
#else
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | data[i];
    return word;
#endif
}

static void jukinet_blake2b_compress(uint64_t h[8], const unsigned char *block, uint64_t bytes_so_far, int last) {
    uint64_t v[16], m[16];
    for (int i = 0; i < 16; i++) m[i] = jukinet_little_word(block + 8 * i);
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = jukinet_blake2b_iv[i];
    }
    v[12] ^= bytes_so_far;
    if (last) v[14] = ~v[14];
    JUKINET_BLAKE2B_ROUNDS(JUKINET_BLAKE2B_STEP)
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

/* The digest of data[0:length]; reads nothing beyond. */
static void jukinet_blake2b(const unsigned char *data, size_t length, uint64_t digest[2]) {
    uint64_t h[8];
    size_t done = 0;
    unsigned char rest[JUKINET_BLAKE2B_BLOCK_BYTES];
    memcpy(h, jukinet_blake2b_iv, sizeof(h));
    h[0] ^= JUKINET_BLAKE2B_PARAMETERS;
    while (length - done > JUKINET_BLAKE2B_BLOCK_BYTES) {
        jukinet_blake2b_compress(h, data + done, done + JUKINET_BLAKE2B_BLOCK_BYTES, 0);
        done += JUKINET_BLAKE2B_BLOCK_BYTES;
    }
    memset(rest, 0, sizeof(rest));
    if (length > done) memcpy(rest, data + done, length - done);
    jukinet_blake2b_compress(h, rest, length, 1);
    digest[0] = h[0];
    digest[1] = h[1];
}

/* Eight messages at once: message i begins at data + i * stride, has lengths[i] bytes and zeros behind it up to a multiple
   of 128 bytes (at least one block). Digest i goes to digests[i]. */
static void jukinet_blake2b_eight_portable(
    const unsigned char *data, size_t stride, const uint32_t *lengths, uint64_t digests[][2]) {
    for (int lane = 0; lane < JUKINET_BLAKE2B_LANES; lane++)
        jukinet_blake2b(data + lane * stride, lengths[lane], digests[lane]);
}

#if defined(__x86_64__) && defined(__GNUC__)
#define JUKINET_LANES 4
#define JUKINET_LANES_NAME jukinet_blake2b_four_avx2
#define JUKINET_LANES_TARGET "avx2"
#include "blake2b_lanes.h"
#define JUKINET_LANES 8
#define JUKINET_LANES_NAME jukinet_blake2b_eight_avx512
#define JUKINET_LANES_TARGET "avx512f"
#include "blake2b_lanes.h"

static void jukinet_blake2b_eight_avx2(
    const unsigned char *data, size_t stride, const uint32_t *lengths, uint64_t digests[][2]) {
    jukinet_blake2b_four_avx2(data, stride, lengths, digests);
    jukinet_blake2b_four_avx2(data + 4 * stride, stride, lengths + 4, digests + 4);
}
#endif

/* 0: one after the other, 1: AVX2, 2: AVX-512. */
static int jukinet_blake2b_best = 0;

static void jukinet_blake2b_prepare(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f")) jukinet_blake2b_best = 2;
    else if (__builtin_cpu_supports("avx2")) jukinet_blake2b_best = 1;
#endif
}

static void jukinet_blake2b_eight(
    int path, const unsigned char *data, size_t stride, const uint32_t *lengths, uint64_t digests[][2]) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (path >= 2) jukinet_blake2b_eight_avx512(data, stride, lengths, digests);
    else if (path == 1) jukinet_blake2b_eight_avx2(data, stride, lengths, digests);
    else
#endif
        jukinet_blake2b_eight_portable(data, stride, lengths, digests);
    (void)path;
}

#endif
