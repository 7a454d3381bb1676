"""The record codec: one entry of the resident table, to and from its bytes (docs/store-format.md, sections 4 and 5)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from jukinet.core.errors import RecordFormatError
from jukinet.core.records.resident import Resident

cdef enum:
    TEXT_BYTES_MAX = 255
    RECORD_BYTES_ROOM = 1100
    SUCCESSOR_BYTES = 5
    KANA_FIRST = 0x30A1
    KANA_LAST = 0x30FC
    PACKED_FIRST = 0x20
    PACKED_LAST = PACKED_FIRST + KANA_LAST - KANA_FIRST
    PACKED_SPACE = 1
    PACKED_WIDE_SPACE = 2
    KNOWN_PARTS = PART_PERSON | PART_KANA_PACKED | PART_ALIAS | PART_SUCCESSOR | PART_TOWN | PART_NOTIFIED

# UTF-8 of each packed byte as a little-endian word, and its length; length 0 marks a byte that stands for nothing.
cdef uint32_t kana_words[256]
cdef uint8_t kana_lengths[256]


cdef void prepare_kana() noexcept:
    cdef uint32_t point
    memset(kana_words, 0, sizeof(kana_words))
    memset(kana_lengths, 0, sizeof(kana_lengths))
    for point in range(KANA_FIRST, KANA_LAST + 1):
        kana_words[PACKED_FIRST + point - KANA_FIRST] = (
            (0xE0 | point >> 12) | (0x80 | (point >> 6 & 63)) << 8 | (0x80 | (point & 63)) << 16
        )
        kana_lengths[PACKED_FIRST + point - KANA_FIRST] = 3
    kana_words[PACKED_SPACE] = 0x20
    kana_lengths[PACKED_SPACE] = 1
    kana_words[PACKED_WIDE_SPACE] = 0x8080E3
    kana_lengths[PACKED_WIDE_SPACE] = 3


prepare_kana()


cdef size_t kana_unpack(const unsigned char *packed, size_t length, unsigned char *out) noexcept nogil:
    cdef size_t i
    cdef unsigned char *place = out
    for i in range(length):
        memcpy(place, &kana_words[packed[i]], 4)
        place += kana_lengths[packed[i]]
    return place - out


cdef int kana_pack(const unsigned char *text, size_t length, unsigned char *out) noexcept nogil:
    cdef size_t i = 0
    cdef int written = 0
    cdef uint32_t point
    while i < length:
        if text[i] == 0x20:
            out[written] = PACKED_SPACE
            i += 1
        elif text[i] == 0xE3 and i + 2 < length and text[i + 1] & 0xC0 == 0x80 and text[i + 2] & 0xC0 == 0x80:
            point = 0x3000 | <uint32_t>(text[i + 1] & 63) << 6 | (text[i + 2] & 63)
            if point == 0x3000:
                out[written] = PACKED_WIDE_SPACE
            elif KANA_FIRST <= point <= KANA_LAST:
                out[written] = <unsigned char>(PACKED_FIRST + point - KANA_FIRST)
            else:
                return -1
            i += 3
        else:
            return -1
        written += 1
    return written


cdef inline unsigned char *put16(unsigned char *place, uint32_t value) noexcept nogil:
    place[0] = <unsigned char>value
    place[1] = <unsigned char>(value >> 8)
    return place + 2


cdef inline unsigned char *put24(unsigned char *place, uint32_t value) noexcept nogil:
    place[0] = <unsigned char>value
    place[1] = <unsigned char>(value >> 8)
    place[2] = <unsigned char>(value >> 16)
    return place + 3


cdef inline unsigned char *put_text(unsigned char *place, const unsigned char *text, size_t length) noexcept nogil:
    if length:
        memcpy(place, text, length)
    return place + length


cdef inline bint date_fits(uint32_t packed) noexcept nogil:
    """A packed date with a day has a month, with a month has a year, and its parts are in range."""
    cdef uint32_t year = packed >> 9, month = packed >> 5 & 15, day = packed & 31
    if packed >> 21 or month > 12:
        return False
    if month == 0:
        return day == 0
    return year != 0


cdef bint record_fits(const ResidentRecord *record) noexcept nogil:
    if record.key >= 10_000_000_000u or record.successor_key > 10_000_000_000u:
        return False
    if record.state < STATE_CURRENT or record.state > STATE_EXPIRED or record.reason > 63 or record.area > 4095:
        return False
    if not date_fits(record.change_date) or not date_fits(record.birth_date):
        return False
    if record.town >> 24 or (record.sex > 2 and record.sex != 9):
        return False
    # A retired, allotted or expired code holds nobody; every other state does.
    return (record.name == NULL) == (record.state >= STATE_RETIRED)


cdef int record_encode(const ResidentRecord *record, unsigned char *out) noexcept nogil:
    cdef unsigned char *place = out + 1
    cdef unsigned char *lengths
    cdef uint8_t parts = PART_NOTIFIED if record.notified else 0
    cdef uint64_t successor
    cdef int packed
    if not record_fits(record):
        return RECORD_VALUE_OUT_OF_RANGE
    place = put16(place, record.update_number)
    if record.successor_key:
        parts |= PART_SUCCESSOR
        successor = record.successor_key - 1
        place = put24(place, <uint32_t>(successor & 0xFFFFFF))
        place = put16(place, <uint32_t>(successor >> 24))
    if record.name == NULL:
        out[0] = parts
        return <int>(place - out)
    if (record.name_bytes > TEXT_BYTES_MAX or record.alias_bytes > TEXT_BYTES_MAX
            or record.rest_bytes > TEXT_BYTES_MAX or record.kana_bytes > TEXT_BYTES_MAX):
        return RECORD_TEXT_TOO_LONG
    parts |= PART_PERSON
    place = put24(place, record.birth_date | (<uint32_t>3 if record.sex == 9 else record.sex) << 21)
    if record.town:
        parts |= PART_TOWN
        place = put24(place, record.town)
    lengths = place
    place += 3
    if record.alias_bytes:
        parts |= PART_ALIAS
        place[0] = <unsigned char>record.alias_bytes
        place += 1
    place = put_text(place, record.name, record.name_bytes)
    packed = kana_pack(record.kana, record.kana_bytes, place)
    if packed >= 0:
        parts |= PART_KANA_PACKED
        place += packed
    else:
        packed = record.kana_bytes
        place = put_text(place, record.kana, record.kana_bytes)
    place = put_text(place, record.rest, record.rest_bytes)
    place = put_text(place, record.alias, record.alias_bytes)
    lengths[0] = <unsigned char>record.name_bytes
    lengths[1] = <unsigned char>packed
    lengths[2] = <unsigned char>record.rest_bytes
    out[0] = parts
    return <int>(place - out)


cdef uint64_t status_encode(const ResidentRecord *record) noexcept nogil:
    return (
        <uint64_t>(record.state & 15)
        | <uint64_t>(record.reason & 63) << 4
        | <uint64_t>(record.area & 4095) << 10
        | <uint64_t>(record.change_date & 0x1FFFFF) << 22
        | <uint64_t>record.registered_day << 43
    )


cdef int record_decode(const unsigned char *data, size_t length, uint64_t status, ResidentRecord *record) noexcept nogil:
    cdef const unsigned char *place = data + 3
    cdef const unsigned char *end = data + length
    cdef uint8_t parts
    cdef uint32_t birth
    memset(record, 0, sizeof(ResidentRecord))
    if length < 3:
        return RECORD_TRUNCATED
    parts = data[0]
    if parts & ~KNOWN_PARTS:
        return RECORD_UNKNOWN_PARTS
    record.state = status_state(status)
    record.reason = status_reason(status)
    record.area = status_area(status)
    record.change_date = status_change_date(status)
    record.registered_day = status_registered_day(status)
    record.update_number = <uint16_t>(data[1] | data[2] << 8)
    record.notified = 1 if parts & PART_NOTIFIED else 0
    if parts & PART_SUCCESSOR:
        if end - place < SUCCESSOR_BYTES:
            return RECORD_TRUNCATED
        record.successor_key = 1 + (
            place[0] | <uint64_t>place[1] << 8 | <uint64_t>place[2] << 16 | <uint64_t>place[3] << 24 | <uint64_t>place[4] << 32
        )
        place += SUCCESSOR_BYTES
    if not parts & PART_PERSON:
        if parts & ~(PART_SUCCESSOR | PART_NOTIFIED):
            return RECORD_UNKNOWN_PARTS
        return 0 if place == end else RECORD_TRAILING_BYTES
    if end - place < 6 + (3 if parts & PART_TOWN else 0) + (1 if parts & PART_ALIAS else 0):
        return RECORD_TRUNCATED
    birth = place[0] | <uint32_t>place[1] << 8 | <uint32_t>place[2] << 16
    record.birth_date = birth & 0x1FFFFF
    record.sex = <uint8_t>(birth >> 21)
    if record.sex == 3:
        record.sex = 9
    elif record.sex > 3:
        return RECORD_VALUE_OUT_OF_RANGE
    place += 3
    if parts & PART_TOWN:
        record.town = place[0] | <uint32_t>place[1] << 8 | <uint32_t>place[2] << 16
        place += 3
    record.name_bytes = place[0]
    record.kana_bytes = place[1]
    record.rest_bytes = place[2]
    place += 3
    if parts & PART_ALIAS:
        record.alias_bytes = place[0]
        place += 1
    if <size_t>(end - place) < <size_t>record.name_bytes + record.kana_bytes + record.rest_bytes + record.alias_bytes:
        return RECORD_TRUNCATED
    record.kana_packed = 1 if parts & PART_KANA_PACKED else 0
    record.name = place
    record.kana = record.name + record.name_bytes
    record.rest = record.kana + record.kana_bytes
    record.alias = record.rest + record.rest_bytes
    return 0 if record.alias + record.alias_bytes == end else RECORD_TRAILING_BYTES


ERRORS = {
    RECORD_TEXT_TOO_LONG: "a text is longer than 255 bytes of UTF-8",
    RECORD_VALUE_OUT_OF_RANGE: "a value is out of range or contradicts the state",
    RECORD_TRUNCATED: "the record ends too early",
    RECORD_UNKNOWN_PARTS: "the record has parts that this format does not know",
    RECORD_TRAILING_BYTES: "bytes follow the record's last part",
}
"""What each negative result of the codec means."""


def encode(resident):
    """(status, record bytes) of a Resident.

    Raises RecordFormatError when a field does not fit; the message never repeats the field's content.
    """
    cdef ResidentRecord record
    cdef unsigned char out[RECORD_BYTES_ROOM]
    cdef int written
    cdef bytes name, kana, alias, rest
    memset(&record, 0, sizeof(record))
    try:
        record.key = resident.key
        record.state = resident.state
        record.reason = resident.reason
        record.sex = resident.sex
        record.area = resident.area
        record.change_date = packed_from_decimal(resident.change_date)
        record.registered_day = resident.registered_day
        record.birth_date = packed_from_decimal(resident.birth_date)
        record.update_number = resident.update_number
        record.notified = 1 if resident.notified else 0
        record.town = resident.town
        record.successor_key = 0 if resident.successor_key is None else resident.successor_key + 1
    except (OverflowError, TypeError) as error:
        raise RecordFormatError("a number does not fit its field") from error
    name, kana = resident.name.encode(), resident.kana.encode()
    alias, rest = resident.alias.encode(), resident.address_rest.encode()
    if max(len(name), len(kana), len(alias), len(rest)) > TEXT_BYTES_MAX:
        raise RecordFormatError(ERRORS[RECORD_TEXT_TOO_LONG])
    if resident.has_person:
        record.name = name
    record.kana, record.alias, record.rest = kana, alias, rest
    record.name_bytes, record.kana_bytes = <uint16_t>len(name), <uint16_t>len(kana)
    record.alias_bytes, record.rest_bytes = <uint16_t>len(alias), <uint16_t>len(rest)
    written = record_encode(&record, out)
    if written < 0:
        raise RecordFormatError(ERRORS[written])
    return status_encode(&record), out[:written]


def decode(key, status, bytes data not None):
    """The Resident that ``encode`` was given. Raises RecordFormatError on bytes that are no record."""
    cdef ResidentRecord record
    cdef unsigned char kana[3 * TEXT_BYTES_MAX + 1]
    cdef size_t kana_bytes
    cdef const unsigned char *source = data
    cdef uint64_t status_bits = status
    cdef int result = record_decode(source, <size_t>len(data), status_bits, &record)
    if result < 0:
        raise RecordFormatError(ERRORS[result])
    if record.kana_packed:
        kana_bytes = kana_unpack(record.kana, record.kana_bytes, kana)
        reading = kana[:kana_bytes]
    else:
        reading = record.kana[:record.kana_bytes] if record.name != NULL else b""
    try:
        return Resident(
            key=key,
            state=record.state,
            reason=record.reason,
            sex=record.sex,
            area=record.area,
            change_date=decimal_date(record.change_date),
            registered_day=record.registered_day,
            birth_date=decimal_date(record.birth_date),
            update_number=record.update_number,
            notified=record.notified != 0,
            town=record.town,
            successor_key=None if record.successor_key == 0 else record.successor_key - 1,
            name=record.name[:record.name_bytes].decode() if record.name != NULL else "",
            kana=reading.decode(),
            alias=record.alias[:record.alias_bytes].decode() if record.name != NULL else "",
            address_rest=record.rest[:record.rest_bytes].decode() if record.name != NULL else "",
        )
    except UnicodeDecodeError:
        raise RecordFormatError("a text of the record is not UTF-8") from None
