/* BLAKE2b of JUKINET_LANES messages at once, one in each lane of a vector; included by blake2b.h for each width with its
   name and target. A template and not an inline function, because compilers lower vectors before they inline. */

__attribute__((target(JUKINET_LANES_TARGET))) static void JUKINET_LANES_NAME(
    const unsigned char *data, size_t stride, const uint32_t *lengths, uint64_t digests[][2]) {
    typedef uint64_t vector __attribute__((vector_size(8 * JUKINET_LANES)));
    vector h[8], v[16], m[16], counted = {0}, finished = {0}, active = {0};
    uint32_t blocks[JUKINET_LANES], blocks_max = 1;
    for (int lane = 0; lane < JUKINET_LANES; lane++) {
        blocks[lane] = lengths[lane] ? (lengths[lane] + 127) / 128 : 1;
        if (blocks[lane] > blocks_max) blocks_max = blocks[lane];
    }
    for (int i = 0; i < 8; i++) h[i] = (vector){0} + jukinet_blake2b_iv[i];
    h[0] ^= JUKINET_BLAKE2B_PARAMETERS;
    for (uint32_t block = 0; block < blocks_max; block++) {
        for (int lane = 0; lane < JUKINET_LANES; lane++) {
            /* A lane that has ended reads its first block again, and what comes of it is dropped. */
            const unsigned char *place = data + lane * stride + (block < blocks[lane] ? block * 128 : 0);
            for (int i = 0; i < 16; i++) m[i][lane] = jukinet_little_word(place + 8 * i);
            active[lane] = block < blocks[lane] ? ~0ULL : 0;
            finished[lane] = block + 1 >= blocks[lane] ? ~0ULL : 0;
            counted[lane] = block + 1 >= blocks[lane] ? lengths[lane] : (block + 1) * 128;
        }
        for (int i = 0; i < 8; i++) {
            v[i] = h[i];
            v[i + 8] = (vector){0} + jukinet_blake2b_iv[i];
        }
        v[12] ^= counted;
        v[14] ^= finished;
        JUKINET_BLAKE2B_ROUNDS(JUKINET_BLAKE2B_STEP)
        for (int i = 0; i < 8; i++) h[i] ^= (v[i] ^ v[i + 8]) & active;
    }
    for (int lane = 0; lane < JUKINET_LANES; lane++) {
        digests[lane][0] = h[0][lane];
        digests[lane][1] = h[1][lane];
    }
}

#undef JUKINET_LANES
#undef JUKINET_LANES_NAME
#undef JUKINET_LANES_TARGET
