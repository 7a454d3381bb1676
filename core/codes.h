/* Check digit of a resident record code by three table look-ups (weights: Rule 1 of the resident register's rules). */
#ifndef JUKINET_CODES_H
#define JUKINET_CODES_H

#include <stdint.h>

/* Weighted digit sums of the last three digits of a key, the three before, and the first four; then sum -> digit. */
static uint8_t jukinet_sum_low[1000], jukinet_sum_middle[1000], jukinet_sum_high[10000], jukinet_sum_digit[256];

static void jukinet_codes_prepare(void) {
    for (int i = 0; i < 1000; i++) {
        int units = i % 10, tens = i / 10 % 10, hundreds = i / 100;
        jukinet_sum_low[i] = (uint8_t)(units * 2 + tens * 3 + hundreds * 4);
        jukinet_sum_middle[i] = (uint8_t)(units * 5 + tens * 6 + hundreds * 7);
    }
    for (int i = 0; i < 10000; i++)
        jukinet_sum_high[i] = (uint8_t)(i % 10 * 2 + i / 10 % 10 * 3 + i / 100 % 10 * 4 + i / 1000 * 5);
    for (int i = 0; i < 256; i++) jukinet_sum_digit[i] = (uint8_t)(i % 11 <= 1 ? 0 : 11 - i % 11);
}

/* key is below 10^10; the sums of all ten digits are at most 9 * 41 = 369, so they are added as ints before the table. */
static inline uint32_t jukinet_check_digit(uint64_t key) {
    uint32_t high = (uint32_t)(key / 1000000), rest = (uint32_t)(key % 1000000);
    uint32_t sum = (uint32_t)jukinet_sum_low[rest % 1000] + jukinet_sum_middle[rest / 1000] + jukinet_sum_high[high];
    return sum < 256 ? jukinet_sum_digit[sum] : jukinet_sum_digit[sum - 242]; /* 242 = 22 * 11 */
}

#endif
