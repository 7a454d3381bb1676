"""Folding of readings: one byte a kana, first exact (script and width unified), then folded (large, without voicing).

A kana's byte is that of packed kana in a record: 0x20 + (c - U+30A1) for U+30A1 to U+30FC (docs/store-format.md, section
5). Latin letters are 0x80 + (letter - "a"), digits 0xA0 + digit: readings of foreign residents hold them now and then.
"""

from libc.stdint cimport uint8_t, uint32_t

from jukinet.core.folding.characters cimport decode_point



cdef enum:
    BASE = 0x30A1 - 0x20
    FIRST_KANA = 0x20
    END_KANA = 0x7A         # behind ヺ; ・ is dropped before
    LONG = 0x7B             # ー
    BETWEEN = 1             # classes of code points: space or middle dot
    DROP = 2
    HYPHEN = 3
    VOICE = 4
    SEMI_VOICE = 5
    REPEAT = 6
    REPEAT_VOICED = 7
    NOT_KANA = 0
    VU = 0x73               # ヴ

# What U+3000 to U+30FF and U+FF00 to U+FFEF become, and the rest of what may stand in a reading: a kana's byte or a class.
cdef uint8_t main_page[256]
cdef uint8_t wide_page[256]
cdef uint8_t ascii_page[256]
# Of each exact byte: with mark, with small circle, and folded; of each folded byte the vowel that a long mark stands for.
cdef uint8_t with_voice[256]
cdef uint8_t with_circle[256]
cdef uint8_t without_voice[256]
cdef uint8_t folded_byte[256]
cdef uint8_t long_vowel[256]
# ハ, ヒ, ヘ, ホ for the vowel behind ヴ, else 0.
cdef uint8_t vu_row[256]

SMALL = dict(zip("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ"))
VOICED = dict(zip("ガギグゲゴザジズゼゾダヂヅデドバビブベボヴヷヸヹヺ", "カキクケコサシスセソタチツテトハヒフヘホウワヰヱヲ"))
CIRCLED = dict(zip("パピプペポ", "ハヒフヘホ"))
FOLDED_KANA = {
    **VOICED, **CIRCLED, **SMALL, "ヂ": "シ", "ヅ": "ス", "ヰ": "イ", "ヱ": "エ", "ヲ": "オ",
    "ヴ": "フ", "ヷ": "ハ", "ヸ": "ヒ", "ヹ": "ヘ", "ヺ": "ホ",
}
"""What a kana folds to on its own; ヴ before a vowel folds with it to ハ, ヒ, ヘ or ホ."""
ROWS = ("アカサタナハマヤラワ", "イキシチニヒミリ", "ウクスツヌフムユル", "エケセテネヘメレ", "オコソトノホモヨロ")
HALF_WIDTH = "ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"
"""U+FF66 to U+FF9D."""


class NotKanaError(ValueError):
    """A reading holds a character that is neither kana nor Latin letter nor digit. The message does not repeat it."""


cdef uint8_t byte_of(str kana):
    return <uint8_t>(ord(kana) - BASE)


def prepare_tables():
    """Fill the tables, once."""
    cdef int i
    for i in range(256):
        main_page[i] = wide_page[i] = ascii_page[i] = NOT_KANA
        with_voice[i] = with_circle[i] = long_vowel[i] = vu_row[i] = 0
        folded_byte[i] = without_voice[i] = <uint8_t>i
    for i in range(0x30A1, 0x30FB):
        main_page[i - 0x3000] = <uint8_t>(i - BASE)
    for i in range(0x3041, 0x3097):
        main_page[i - 0x3000] = <uint8_t>(i + 0x60 - BASE)
    for point, value in (
        (0x3000, BETWEEN), (0x3001, BETWEEN), (0x3002, DROP), (0x30A0, BETWEEN), (0x30FB, BETWEEN), (0x30FC, LONG), (0x3099, VOICE),
        (0x309A, SEMI_VOICE), (0x309B, VOICE), (0x309C, SEMI_VOICE), (0x309D, REPEAT), (0x309E, REPEAT_VOICED),
        (0x30FD, REPEAT), (0x30FE, REPEAT_VOICED), (0x301C, HYPHEN),
    ):
        main_page[point - 0x3000] = value
    for i, kana in enumerate(HALF_WIDTH, 0x66):
        wide_page[i] = byte_of(kana)
    wide_page[0x65] = BETWEEN
    wide_page[0x9E] = VOICE
    wide_page[0x9F] = SEMI_VOICE
    for character, value in (
        (" ", BETWEEN), ("\t", BETWEEN), ("\n", BETWEEN), ("\r", BETWEEN), (",", BETWEEN), ("=", BETWEEN), (".", DROP),
        ("'", DROP), ("-", HYPHEN), ("~", HYPHEN),
    ):
        ascii_page[ord(character)] = value
        if 0x21 <= ord(character) <= 0x7E:
            wide_page[ord(character) - 0x20] = value
    for i in range(26):
        ascii_page[0x41 + i] = ascii_page[0x61 + i] = wide_page[0x21 + i] = wide_page[0x41 + i] = <uint8_t>(0x80 + i)
    for i in range(10):
        ascii_page[0x30 + i] = wide_page[0x10 + i] = <uint8_t>(0xA0 + i)
    for kana, plain in VOICED.items():
        with_voice[byte_of(plain)] = byte_of(kana)
        without_voice[byte_of(kana)] = byte_of(plain)
    for kana, plain in CIRCLED.items():
        with_circle[byte_of(plain)] = byte_of(kana)
        without_voice[byte_of(kana)] = byte_of(plain)
    for kana, plain in FOLDED_KANA.items():
        folded_byte[byte_of(kana)] = byte_of(plain)
    for vowel, kana in zip("アイエオ", "ハヒヘホ"):
        vu_row[byte_of(vowel)] = byte_of(kana)
    for row, vowel in zip(ROWS, "アイウイウ"):
        for kana in row:
            long_vowel[byte_of(kana)] = byte_of(vowel)


prepare_tables()


# A reading on its way into out.
ctypedef struct Reading:
    uint8_t *out
    int room
    int written
    int part
    bint between


cdef inline int push(Reading *reading, uint8_t value) noexcept nogil:
    """Take one kana's byte or class; 0 or a negative error."""
    cdef uint8_t before = reading.out[reading.written - 1] if reading.written else 0
    cdef uint8_t plain
    if value == BETWEEN:
        reading.between = reading.written > 0
        return 0
    if value < FIRST_KANA:
        if value == VOICE or value == SEMI_VOICE:
            value = with_voice[before] if value == VOICE else with_circle[before]
            if value:
                reading.out[reading.written - 1] = value
            return 0
        if value == HYPHEN and FIRST_KANA <= before <= LONG and not reading.between:
            value = LONG
        elif (value == REPEAT or value == REPEAT_VOICED) and FIRST_KANA <= before < END_KANA:
            plain = without_voice[before]
            value = with_voice[plain] if value == REPEAT_VOICED and with_voice[plain] else plain
        elif value == NOT_KANA:
            return KANA_NOT_KANA
        else:
            return 0
    if reading.written >= reading.room:
        return KANA_TOO_LONG
    if reading.between and not reading.part:
        reading.part = reading.written
    reading.between = False
    reading.out[reading.written] = value
    reading.written += 1
    return 0


cdef inline uint8_t class_of(uint32_t point) noexcept nogil:
    if point < 0x80:
        return ascii_page[point]
    if 0x3000 <= point < 0x3100:
        return main_page[point - 0x3000]
    if 0xFF00 <= point < 0x10000:
        return wide_page[point - 0xFF00]
    if 0x2010 <= point <= 0x2015 or point == 0x2212 or point == 0x2500:
        return HYPHEN
    if point == 0xA0 or point == 0xB7 or 0x2000 <= point <= 0x200A or point == 0x2022:
        return BETWEEN
    if point == 0x2018 or point == 0x2019 or 0x200B <= point <= 0x200D or point == 0xFEFF:
        return DROP
    return NOT_KANA


cdef int finish(Reading *reading, int *part) noexcept nogil:
    if part != NULL:
        part[0] = reading.part
    return reading.written


cdef int fold_kana_exact(const uint8_t *text, int length, uint8_t *out, int capacity, int *part) noexcept nogil:
    cdef Reading reading
    cdef int place = 0, result
    cdef uint32_t point = 0
    reading.out, reading.room = out, capacity if capacity < FOLDED_KANA_MAX else FOLDED_KANA_MAX
    reading.written = reading.part = 0
    reading.between = False
    while place < length:
        if decode_point(text, length, &place, &point) < 0:
            return KANA_TOO_LONG
        result = push(&reading, class_of(point))
        if result < 0:
            return result
    return finish(&reading, part)


cdef int fold_kana_exact_packed(const uint8_t *packed, int length, uint8_t *out, int capacity, int *part) noexcept nogil:
    cdef Reading reading
    cdef int i, result
    cdef uint8_t value
    reading.out, reading.room = out, capacity if capacity < FOLDED_KANA_MAX else FOLDED_KANA_MAX
    reading.written = reading.part = 0
    reading.between = False
    for i in range(length):
        value = packed[i]
        if value <= 2 or value == END_KANA:
            value = BETWEEN if value else NOT_KANA
        elif value < FIRST_KANA or value > LONG:
            value = NOT_KANA
        result = push(&reading, value)
        if result < 0:
            return result
    return finish(&reading, part)


cdef int fold_exact_kana(const uint8_t *exact, int length, uint8_t *out, int capacity, int *part) noexcept nogil:
    cdef int i = 0, written = 0, split = 0 if part == NULL else part[0]
    cdef uint8_t value, after
    if length > capacity:
        return KANA_TOO_LONG
    while i < length:
        if split and i >= split:
            part[0] = written
            split = 0
        value = exact[i]
        i += 1
        if value == VU:
            value = folded_byte[value]
            after = vu_row[folded_byte[exact[i]]] if i < length else 0
            if after:
                value = after
                i += 1
        elif value == LONG:
            value = long_vowel[out[written - 1]] if written else 0
            if value == 0:
                continue
        else:
            value = folded_byte[value]
        out[written] = value
        written += 1
    return written


cdef int fold_kana(const uint8_t *text, int length, uint8_t *out, int capacity, int *part) noexcept nogil:
    cdef uint8_t exact[FOLDED_KANA_MAX]
    cdef int count = fold_kana_exact(text, length, exact, FOLDED_KANA_MAX, part)
    return count if count < 0 else fold_exact_kana(exact, count, out, capacity, part)


cdef int fold_kana_packed(const uint8_t *packed, int length, uint8_t *out, int capacity, int *part) noexcept nogil:
    cdef uint8_t exact[FOLDED_KANA_MAX]
    cdef int count = fold_kana_exact_packed(packed, length, exact, FOLDED_KANA_MAX, part)
    return count if count < 0 else fold_exact_kana(exact, count, out, capacity, part)


cdef tuple parts_of(const uint8_t *folded, int count, int part):
    if count == KANA_NOT_KANA:
        raise NotKanaError("a reading holds kana, Latin letters and digits only")
    if count < 0:
        raise ValueError("a reading of this length is not folded")
    if not part:
        part = count
    return (<const char *>folded)[:part], (<const char *>folded)[part:count]


cdef tuple fold_text(str text, bint exact):
    cdef uint8_t folded[FOLDED_KANA_MAX]
    cdef bytes encoded = text.encode()
    cdef int part = 0, count, length = <int>min(len(encoded), 1 << 30)
    if exact:
        count = fold_kana_exact(encoded, length, folded, FOLDED_KANA_MAX, &part)
    else:
        count = fold_kana(encoded, length, folded, FOLDED_KANA_MAX, &part)
    return parts_of(folded, count, part)


def folded_kana(str text not None):
    """The folded reading, one byte a kana. NotKanaError for other characters; ValueError when it is too long."""
    return b"".join(fold_text(text, False))


def folded_kana_parts(str text not None):
    """The folded reading in two: the first part, and the others together."""
    return fold_text(text, False)


def folded_kana_exact(str text not None):
    """The reading with voicing and small kana kept, one byte a kana."""
    return b"".join(fold_text(text, True))


def folded_kana_exact_parts(str text not None):
    """The reading with voicing and small kana kept, in two parts."""
    return fold_text(text, True)


def folded_kana_packed(bytes packed not None, bint exact=False):
    """Both parts of the folded reading of packed kana, as a record holds it."""
    cdef uint8_t folded[FOLDED_KANA_MAX]
    cdef int part = 0, count, length = <int>min(len(packed), 1 << 30)
    if exact:
        count = fold_kana_exact_packed(packed, length, folded, FOLDED_KANA_MAX, &part)
    else:
        count = fold_kana_packed(packed, length, folded, FOLDED_KANA_MAX, &part)
    return parts_of(folded, count, part)


def kana_text(bytes folded not None):
    """The text that folded or exact bytes stand for, for people to read."""
    return "".join(
        chr(BASE + value) if value < 0x80 else chr(0x61 + value - 0x80) if value < 0xA0 else chr(0x30 + value - 0xA0)
        for value in folded
    )
