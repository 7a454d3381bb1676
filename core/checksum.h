/* CRC-32C (Castagnoli, RFC 3720 appendix B.4): hardware instruction where the machine has one, slicing by 8 elsewhere. */
#ifndef JUKINET_CHECKSUM_H
#define JUKINET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JUKINET_CRC32C_POLYNOMIAL 0x82F63B78u /* reflected */

static uint32_t jukinet_crc_table[8][256];
static int jukinet_crc_hardware = 0;

static void jukinet_crc_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) ? JUKINET_CRC32C_POLYNOMIAL : 0);
        jukinet_crc_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int slice = 1; slice < 8; slice++) {
            uint32_t before = jukinet_crc_table[slice - 1][i];
            jukinet_crc_table[slice][i] = (before >> 8) ^ jukinet_crc_table[0][before & 0xFF];
        }
#if defined(__x86_64__)
    jukinet_crc_hardware = __builtin_cpu_supports("sse4.2") ? 1 : 0;
#endif
}

static uint32_t jukinet_crc_portable(uint32_t crc, const unsigned char *data, size_t length) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (length >= 8) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + 4, 4);
        low ^= crc;
        crc = jukinet_crc_table[7][low & 0xFF] ^ jukinet_crc_table[6][(low >> 8) & 0xFF] ^
              jukinet_crc_table[5][(low >> 16) & 0xFF] ^ jukinet_crc_table[4][low >> 24] ^
              jukinet_crc_table[3][high & 0xFF] ^ jukinet_crc_table[2][(high >> 8) & 0xFF] ^
              jukinet_crc_table[1][(high >> 16) & 0xFF] ^ jukinet_crc_table[0][high >> 24];
        data += 8;
        length -= 8;
    }
#endif
    while (length--) crc = (crc >> 8) ^ jukinet_crc_table[0][(crc ^ *data++) & 0xFF];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t jukinet_crc_sse42(uint32_t crc, const unsigned char *data,
                                                                    size_t length) {
    uint64_t wide = crc;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = __builtin_ia32_crc32di(wide, word);
        data += 8;
        length -= 8;
    }
    crc = (uint32_t)wide;
    while (length--) crc = __builtin_ia32_crc32qi(crc, *data++);
    return crc;
}
#endif

/* crc is the value so far, 0 for a first piece. */
static uint32_t jukinet_crc32c(uint32_t crc, const unsigned char *data, size_t length) {
    crc = ~crc;
#if defined(__x86_64__)
    if (jukinet_crc_hardware) return ~jukinet_crc_sse42(crc, data, length);
#endif
    return ~jukinet_crc_portable(crc, data, length);
}

#endif
