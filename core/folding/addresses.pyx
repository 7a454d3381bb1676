"""Folding of addresses: area as numbers, then town, numbers as 1-2-3, and the building, in one form.

Areas are found by a tree of names, of today's municipalities (data/areas.txt) and of former ones (data/former_areas.txt),
with and without prefecture. What follows is read once from left to right; the rules stand in docs/folding.md, section 5.
"""

from enum import IntEnum
from typing import NamedTuple

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp

from jukinet.core.folding.characters cimport (
    FOLDED_BYTES_MAX, FOLDED_POINTS_MAX, encode_points, fold_characters,
)

from jukinet.core.folding import DATA

cdef enum:
    SLOTS = 1 << 17          # of the tree's edges
    NODES_MAX = 90_000
    MUNICIPALITIES_MAX = 4_000
    DISTRICT_POINTS_MAX = 8  # how far 郡 is looked for
    NUMERAL_POINTS_MAX = 7
    NUMBERS_MAX = 12

# An edge of the tree of area names: (node << 21 | point) + 1 and the node it leads to. Node 0 is the root.
ctypedef struct Edge:
    uint64_t key
    uint32_t node

ctypedef struct Place:
    uint16_t municipality
    uint8_t prefecture
    uint8_t ward
    uint8_t former
    uint8_t rural            # 1: 町 or 村 named without prefecture, a town may have the same name; 2: a former one
    uint8_t ends             # a name ends at this node
    uint8_t ambiguous        # former names of several prefectures: they say nothing without theirs

cdef Edge *edges = <Edge *>calloc(SLOTS, sizeof(Edge))
cdef Place *nodes = <Place *>calloc(NODES_MAX, sizeof(Place))
cdef int nodes_count = 1
if edges == NULL or nodes == NULL:
    raise MemoryError

MUNICIPALITIES = [""]
"""Names of municipalities by number; municipalities of one name in several prefectures share it."""
NUMBERS = {"": 0}
WARDS = {}
"""(prefecture, municipality) to its wards."""
PREFECTURES = {}


class AddressNearness(IntEnum):
    """How two addresses compare (the ADDRESS_ values of addresses.pxd)."""

    EQUAL = 0
    BUT_BUILDING = 1
    COMPATIBLE = 2
    SAME_TOWN = 3
    SAME_AREA = 4
    DIFFERENT = 5
    UNKNOWN = 6


class FoldedAddress(NamedTuple):
    """An address in parts: prefecture and ward as numbers (0 not said), today's municipality, the rest folded."""

    prefecture: int
    municipality: str
    ward: int
    former: bool
    town: str
    numbers: str
    building: str


cdef inline uint32_t slot_of(uint64_t key) noexcept nogil:
    return <uint32_t>((key * <uint64_t>0x9E3779B97F4A7C15) >> 47)


cdef inline uint32_t child(uint32_t node, uint32_t point) noexcept nogil:
    """The node that a character leads to, 0 for none."""
    cdef uint64_t key = (<uint64_t>node << 21 | point) + 1
    cdef uint32_t slot = slot_of(key)
    while edges[slot].key:
        if edges[slot].key == key:
            return edges[slot].node
        slot = (slot + 1) & (SLOTS - 1)
    return 0


cdef inline bint is_kanji(uint32_t point) noexcept nogil:
    return 0x4E00 <= point <= 0x9FFF or 0x3400 <= point <= 0x4DBF or point >= 0x20000 or point == 0x3005


cdef inline bint is_digit(uint32_t point) noexcept nogil:
    return 0x30 <= point <= 0x39


cdef int unify_places(uint32_t *points, int count) noexcept nogil:
    """Drop 大字 and 字, and bring ケ ヶ が ガ and ノ の 之 between kanji to one form, in place; white space is kept."""
    cdef int i = 0, written = 0
    cdef uint32_t point
    while i < count:
        if points[i] == 0x5927 and i + 1 < count and points[i + 1] == 0x5B57:
            i += 2
            continue
        # A 字 is kept where it begins the address.
        if points[i] != 0x5B57 or written == 0:
            points[written] = points[i]
            written += 1
        i += 1
    for i in range(1, written - 1):
        point = points[i]
        if point < 0x3042 or (point > 0x30CE and point != 0x4E4B):
            continue
        if is_kanji(points[i - 1]) and is_kanji(points[i + 1]):
            if point == 0x30B1 or point == 0x304C or point == 0x30AC or point == 0x3051:
                points[i] = 0x30B1
            elif point == 0x306E or point == 0x4E4B:
                points[i] = 0x30CE
            elif point == 0x30C3 or point == 0x3064 or point == 0x3063:
                points[i] = 0x30C4
    return written


cdef int find_area(const uint32_t *points, int count, Address *address) noexcept nogil:
    """Take prefecture, municipality and ward from the front of an address; where the rest begins."""
    cdef uint32_t node = 0, from_node = 0, best = 0
    cdef int i = 0, end = 0, after, start = 0, tries
    cdef Place *place
    for tries in range(2):
        node = from_node
        i = start
        while i < count:
            i += 1
            if points[i - 1] == 0x20:
                continue
            node = child(node, points[i - 1])
            if node == 0:
                break
            place = nodes + node
            if place.ends and not place.ambiguous and not (
                tries == 0 and (place.rural == 2 or (place.rural and not stands_before_town(points, count, i)))
            ):
                best = node
                end = i
        if best and nodes[best].municipality:
            break
        # Nothing but the prefecture, or nothing: a district (郡) may stand between.
        from_node = best
        start = end
        while start < count and points[start] != 0x90E1 and not is_digit(points[start]):
            start += 1
        if start == count or points[start] != 0x90E1 or start - end >= DISTRICT_POINTS_MAX:
            break
        start += 1
    place = nodes + best
    address.municipality = place.municipality if best else 0
    address.prefecture = place.prefecture if best else 0
    address.ward = place.ward if best else 0
    address.former = place.former if best else 0
    return end


cdef inline bint is_dash(uint32_t point) noexcept nogil:
    return (
        point == 0x2D or 0x2010 <= point <= 0x2015 or point == 0x2212 or point == 0x30FC or point == 0x2500 or point == 0x7E
        or point == 0x301C
    )


cdef inline int kanji_digit(uint32_t point) noexcept nogil:
    """0 to 9; 10 and 100 for 十 and 百; -1 for anything else."""
    if point == 0x4E00:
        return 1
    if point == 0x4E8C:
        return 2
    if point == 0x4E09:
        return 3
    if point == 0x56DB:
        return 4
    if point == 0x4E94:
        return 5
    if point == 0x516D:
        return 6
    if point == 0x4E03:
        return 7
    if point == 0x516B:
        return 8
    if point == 0x4E5D:
        return 9
    if point == 0x3007 or point == 0x96F6:
        return 0
    if point == 0x5341:
        return 10
    if point == 0x767E:
        return 100
    return 1000 if point == 0x5343 else -1


cdef int numeral(const uint32_t *points, int count, int start, uint32_t *value) noexcept nogil:
    """Length of a kanji numeral at start, 0 for none; its value in value. 二十三 and 二三 are the same."""
    cdef int i = start, digit
    cdef uint32_t total = 0, pending = 0
    while i < count and i - start < NUMERAL_POINTS_MAX:
        digit = kanji_digit(points[i])
        if digit < 0:
            break
        if digit >= 10:
            total += (pending if pending else 1) * digit
            pending = 0
        else:
            pending = pending * 10 + digit
        i += 1
    value[0] = total + pending
    return i - start


cdef int counter(const uint32_t *points, int count, int i) noexcept nogil:
    """Length of a counter (丁目, 番地, 番, 号 ...) at i, 0 for none: dashes and の apart."""
    cdef uint32_t point, after
    if i >= count:
        return 0
    point = points[i]
    after = points[i + 1] if i + 1 < count else 0
    if point == 0x4E01 and after == 0x76EE or point == 0x756A and after == 0x5730 or point == 0x5730 and after == 0x5272:
        return 2                                          # 丁目, 番地, 地割
    if point == 0x4E01 or point == 0x756A:                # 丁, 番; but 番町, 丁平, 番通 are of a town's name
        return 0 if is_kanji(after) and kanji_digit(after) < 0 else 1
    if point == 0x53F7:                                   # 号; but 号室, 号館, 号線, 号棟
        return 0 if after == 0x5BA4 or after == 0x9928 or after == 0x7DDA or after == 0x68DF else 1
    return 0


cdef inline bint starts_number(const uint32_t *points, int count, int i) noexcept nogil:
    """Whether the numbers of an address may begin at i."""
    cdef uint32_t value = 0
    cdef int length
    if i >= count:
        return False
    if is_digit(points[i]):
        return True
    length = numeral(points, count, i, &value)
    return length > 0 and counter(points, count, i + length) > 0


cdef bint stands_before_town(const uint32_t *points, int count, int i) noexcept nogil:
    """Whether a town's name, and no number, stands at i."""
    while i < count and points[i] == 0x20:
        i += 1
    return i < count and not starts_number(points, count, i) and not is_dash(points[i])


cdef inline bint names_town(uint32_t point) noexcept nogil:
    """What makes a number before it part of a town's name: 条 線 軒 町 村 区."""
    return (
        point == 0x6761 or point == 0x7DDA or point == 0x8ED2 or point == 0x753A or point == 0x6751 or point == 0x533A
    )


cdef int put_decimal(uint32_t *out, int written, uint32_t value) noexcept nogil:
    cdef uint32_t digits[10]
    cdef int n = 0
    while True:
        digits[n] = 0x30 + value % 10
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        out[written] = digits[n]
        written += 1
    return written


cdef int digits_end(const uint32_t *points, int count, int i) noexcept nogil:
    while i < count and is_digit(points[i]):
        i += 1
    return i


cdef int put_digits(const uint32_t *points, int start, int end, uint32_t *out, int written) noexcept nogil:
    """Copy digits without leading zeros."""
    while start < end - 1 and points[start] == 0x30:
        start += 1
    while start < end:
        out[written] = points[start]
        written += 1
        start += 1
    return written


cdef int fold_town(const uint32_t *points, int count, int *place, uint32_t *out) noexcept nogil:
    """The town, up to the numbers; points written. The result is never longer than what was read."""
    cdef int i = place[0], end, length, k, written = 0
    cdef uint32_t value = 0
    while i < count:
        if points[i] == 0x20:
            i += 1
            continue
        if is_digit(points[i]):
            end = digits_end(points, count, i)
            if end == count or not names_town(points[end]):
                break
            written = put_digits(points, i, end, out, written)
            i = end
            continue
        length = numeral(points, count, i, &value)
        if length:
            if counter(points, count, i + length):
                break
            if i + length < count and points[i + length] == 0x6761:      # 北一条西 is 北1条西
                written = put_decimal(out, written, value)
            else:
                for k in range(length):
                    out[written] = points[i + k]
                    written += 1
            i += length
            continue
        if is_dash(points[i]) and (points[i] != 0x30FC or starts_number(points, count, i + 1)):
            i += 1
            continue
        if points[i] != 0x2C and points[i] != 0x2E and points[i] != 0x3001 and points[i] != 0x30FB:
            out[written] = points[i]
            written += 1
        i += 1
    place[0] = i
    return written


cdef inline bint dash_follows(const uint32_t *points, int count, int i) noexcept nogil:
    """Whether a dash stands behind the spaces at i."""
    while i < count and points[i] == 0x20:
        i += 1
    return i < count and is_dash(points[i])


cdef int skip_counters(const uint32_t *points, int count, int i, bint *joined) noexcept nogil:
    """Pass counters, dashes and の behind a number; joined: another number may follow as part of the address."""
    cdef int k = i, length
    cdef uint32_t value = 0
    cdef bint ended = False
    joined[0] = False
    while k < count:
        length = counter(points, count, k)
        if length:
            ended = points[k] == 0x53F7
            joined[0] = not ended
            k += length
            i = k
        elif is_dash(points[k]):
            ended = False
            joined[0] = True
            k += 1
            i = k
        elif (points[k] == 0x306E or points[k] == 0x30CE) and k + 1 < count and (
            is_digit(points[k + 1]) or numeral(points, count, k + 1, &value)
        ):
            ended = False
            joined[0] = True
            k += 1
            i = k
        elif points[k] == 0x20 and (joined[0] or dash_follows(points, count, k)):
            k += 1
            if joined[0]:
                i = k
        else:
            break
    return i


cdef int fold_numbers(const uint32_t *points, int count, int *place, uint32_t *out) noexcept nogil:
    """The numbers as 1-2-3; points written, never more than one beyond what was read."""
    cdef int i = place[0], end, length, written = 0, numbers = 0
    cdef uint32_t value = 0
    cdef bint joined = True
    while joined and i < count and numbers < NUMBERS_MAX:
        length = 0
        if not is_digit(points[i]):
            length = numeral(points, count, i, &value)
            if length == 0 or not (
                i + length == count or points[i + length] == 0x20 or counter(points, count, i + length)
                or is_dash(points[i + length]) or points[i + length] == 0x306E or points[i + length] == 0x30CE
            ):
                break
        if numbers:
            out[written] = 0x2D
            written += 1
        if length:
            written = put_decimal(out, written, value)
            i += length
        else:
            end = digits_end(points, count, i)
            written = put_digits(points, i, end, out, written)
            i = end
        numbers += 1
        i = skip_counters(points, count, i, &joined)
    place[0] = i
    return written


cdef int fold_building(const uint32_t *points, int count, int i, uint32_t *out) noexcept nogil:
    """What stands behind the numbers, without spaces, signs, and 号室 or 号 behind a number; 階 is f."""
    cdef int written = 0
    cdef uint32_t point
    while i < count:
        point = points[i]
        i += 1
        if written and is_digit(out[written - 1]):
            if point == 0x53F7:
                if i < count and points[i] == 0x5BA4:
                    i += 1
                continue
            if point == 0x968E:
                point = 0x66
        if is_dash(point) and point != 0x30FC:
            if written == 0 or i == count or not is_digit(points[i]) or not is_digit(out[written - 1]):
                continue
            point = 0x2D
        if point in (0x20, 0x2C, 0x2E, 0x3001, 0x3002, 0x30FB, 0x28, 0x29, 0x27, 0x300C, 0x300D, 0x22):
            continue
        out[written] = point
        written += 1
    return written


cdef int fold_address(const uint8_t *text, int length, uint8_t *out, int capacity, Address *address) noexcept nogil:
    cdef uint32_t points[FOLDED_POINTS_MAX]
    cdef uint32_t folded[3 * FOLDED_POINTS_MAX]
    cdef int count = fold_characters(text, length, points), place, town, numbers, building, written
    address.town = address.numbers = address.length = 0
    address.municipality = 0
    address.prefecture = address.ward = address.former = 0
    if count < 0:
        return -1
    count = unify_places(points, count)
    place = find_area(points, count, address)
    town = fold_town(points, count, &place, folded)
    numbers = town + fold_numbers(points, count, &place, folded + town)
    building = numbers + fold_building(points, count, place, folded + numbers)
    written = encode_points(folded, building, out, capacity)
    if written < 0:
        return -1
    # Each part is encoded after the one before: their ends in bytes are those of their encodings.
    address.town = bytes_of(folded, town)
    address.numbers = address.town + (numbers - town)
    address.length = written
    return written


cdef inline int bytes_of(const uint32_t *points, int count) noexcept nogil:
    cdef int i, total = 0
    for i in range(count):
        total += 1 + (points[i] >= 0x80) + (points[i] >= 0x800) + (points[i] >= 0x10000)
    return total


cdef inline bint same(const uint8_t *one, int one_length, const uint8_t *other, int other_length) noexcept nogil:
    return one_length == other_length and memcmp(one, other, one_length) == 0


cdef bint same_town(const uint8_t *one, const Address *a, const uint8_t *other, const Address *b) noexcept nogil:
    cdef const uint8_t *swap
    cdef int shorter = a.town, longer = b.town
    if same(one, a.town, other, b.town):
        return True
    if not (a.former or b.former):
        return False
    # After a merger the former municipality's name often became part of the town's: 北会津村X is 会津若松市北会津町X.
    if shorter > longer:
        swap, shorter, longer = one, b.town, a.town
        one = other
        other = swap
    return shorter >= 6 and memcmp(one, other + (longer - shorter), shorter) == 0


cdef int compare_numbers(const uint8_t *one, int one_length, const uint8_t *other, int other_length) noexcept nogil:
    """ADDRESS_EQUAL, ADDRESS_COMPATIBLE (one begins as the other) or ADDRESS_SAME_TOWN."""
    if same(one, one_length, other, other_length):
        return ADDRESS_EQUAL
    if one_length == 0 or other_length == 0:
        return ADDRESS_SAME_TOWN
    if one_length < other_length and other[one_length] == c"-" and memcmp(one, other, one_length) == 0:
        return ADDRESS_COMPATIBLE
    if other_length < one_length and one[other_length] == c"-" and memcmp(one, other, other_length) == 0:
        return ADDRESS_COMPATIBLE
    return ADDRESS_SAME_TOWN


cdef int compare_addresses(
    const uint8_t *one, const Address *one_parts, const uint8_t *other, const Address *other_parts
) noexcept nogil:
    cdef const Address *a = one_parts
    cdef const Address *b = other_parts
    cdef int numbers
    cdef bint less = (a.municipality == 0) != (b.municipality == 0)
    if not (a.length or a.municipality or a.prefecture) or not (b.length or b.municipality or b.prefecture):
        return ADDRESS_UNKNOWN
    if (a.prefecture and b.prefecture and a.prefecture != b.prefecture) or (
        a.municipality and b.municipality and a.municipality != b.municipality
    ):
        return ADDRESS_DIFFERENT
    if a.ward != b.ward:
        if a.ward and b.ward:
            return ADDRESS_SAME_AREA
        less = less or not (a.former or b.former)
    if not same_town(one, a, other, b):
        return ADDRESS_SAME_AREA if a.municipality and b.municipality else ADDRESS_DIFFERENT
    numbers = compare_numbers(one + a.town, a.numbers - a.town, other + b.town, b.numbers - b.town)
    if numbers == ADDRESS_SAME_TOWN:
        return ADDRESS_SAME_TOWN if a.town or (a.municipality and b.municipality) else ADDRESS_DIFFERENT
    if less or numbers == ADDRESS_COMPATIBLE:
        return ADDRESS_COMPATIBLE
    if same(one + a.numbers, a.length - a.numbers, other + b.numbers, b.length - b.numbers):
        return ADDRESS_EQUAL
    return ADDRESS_BUT_BUILDING


cdef uint32_t town_key(const uint8_t *folded, const Address *address) noexcept nogil:
    cdef uint64_t value = <uint64_t>address.municipality * <uint64_t>0x9E3779B97F4A7C15
    cdef int i
    if address.municipality == 0 or address.town == 0:
        return 0
    for i in range(address.town):
        value = (value ^ folded[i]) * <uint64_t>0x100000001B3
    value ^= value >> 32
    return <uint32_t>value if <uint32_t>value else 1


cdef uint32_t node_of(str name) except 0:
    """The node that a name leads to; it is made when there is none."""
    global nodes_count
    cdef uint32_t points[FOLDED_POINTS_MAX]
    cdef bytes encoded = name.encode()
    cdef int i, count = fold_characters(encoded, <int>len(encoded), points)
    cdef uint32_t node = 0, found, slot
    cdef uint64_t key
    if count <= 0:
        raise ValueError("an area has a name of at most 1,500 characters")
    count = unify_places(points, count)
    for i in range(count):
        if points[i] == 0x20:
            continue
        found = child(node, points[i])
        if found == 0:
            if nodes_count == NODES_MAX:
                raise ValueError("there are too many area names")
            found = nodes_count
            nodes_count += 1
            key = (<uint64_t>node << 21 | points[i]) + 1
            slot = slot_of(key)
            while edges[slot].key:
                slot = (slot + 1) & (SLOTS - 1)
            edges[slot].node = found
            edges[slot].key = key
        node = found
    return node


cdef int add_area(int prefecture, str written, str municipality, int ward, bint former) except -1:
    """Enter one spelling of an area, with its prefecture's name before it and without."""
    cdef int number, with_prefecture
    cdef Place *place
    if municipality not in NUMBERS:
        if len(MUNICIPALITIES) == MUNICIPALITIES_MAX:
            raise ValueError("there are too many municipalities")
        NUMBERS[municipality] = len(MUNICIPALITIES)
        MUNICIPALITIES.append(municipality)
    number = NUMBERS[municipality]
    for with_prefecture in range(2):
        place = nodes + node_of(PREFECTURES[prefecture] + written if with_prefecture else written)
        if place.ends and place.municipality:
            if former and not place.former:
                continue                    # today's names come before former ones
            if place.municipality != number:
                place.ambiguous = 1
            elif place.prefecture != prefecture:
                place.prefecture = 0
                place.ward = place.ward if place.ward == ward else 0
            continue
        place.ends = 1
        place.municipality = <uint16_t>number
        place.prefecture = <uint8_t>prefecture
        place.ward = <uint8_t>ward
        place.former = former
        place.rural = (2 if former else 1) if not with_prefecture and written.endswith(("町", "村")) else 0
    return 0


def add_former_areas(lines):
    """Enter former municipalities: lines ``NN prefecture``, then ``today's municipality: former names`` for each, as in
    data/former_areas.txt. The count of names entered. ValueError, with the line's number, for a line that is neither.
    """
    cdef int prefecture = 0, count = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text[:2].isdigit():
            prefecture = int(text[:2])
            if prefecture not in PREFECTURES:
                raise ValueError(f"line {number}: there are prefectures 01 to 47")
            continue
        municipality, colon, names = text.partition(":")
        if not colon or not prefecture or (prefecture, municipality) not in WARDS:
            raise ValueError(f"line {number}: not a municipality of today's in the prefecture above, and its former names")
        for name in names.split():
            add_area(prefecture, name, municipality, 0, True)
            count += 1
    return count


def read_areas(lines):
    """Enter the municipalities of today from the lines of data/areas.txt."""
    cdef int prefecture = 0, ward
    for line in lines:
        if line.startswith("#"):
            continue
        if line[:2].isdigit():
            prefecture = int(line[:2])
            PREFECTURES[prefecture] = line[3:]
            place_of_prefecture(prefecture)
            continue
        municipality, _, wards = line.partition(":")
        WARDS[prefecture, municipality] = wards.split()
        add_area(prefecture, municipality, municipality, 0, False)
        for ward, name in enumerate(wards.split(), 1):
            add_area(prefecture, municipality + name, municipality, ward, False)


cdef int place_of_prefecture(int prefecture) except -1:
    cdef Place *place = nodes + node_of(PREFECTURES[prefecture])
    place.ends = 1
    place.prefecture = <uint8_t>prefecture
    return 0


def prepare_tables():
    """Fill the tree, once, in some tens of milliseconds."""
    read_areas((DATA / "areas.txt").read_text(encoding="utf-8").splitlines())
    add_former_areas((DATA / "former_areas.txt").read_text(encoding="utf-8").splitlines())


prepare_tables()


cdef bytes folded_bytes(str text, Address *address):
    cdef uint8_t folded[FOLDED_BYTES_MAX]
    cdef bytes encoded = text.encode()
    cdef int written = -1
    if len(encoded) <= FOLDED_BYTES_MAX:
        written = fold_address(encoded, <int>len(encoded), folded, FOLDED_BYTES_MAX, address)
    if written < 0:
        raise ValueError("a text of this length is not folded")
    return (<const char *>folded)[:written]


def split_address(str text not None):
    """An address in folded parts. ValueError when it is too long to fold."""
    cdef Address address
    cdef bytes folded = folded_bytes(text, &address)
    return FoldedAddress(
        address.prefecture, MUNICIPALITIES[address.municipality], address.ward, bool(address.former),
        folded[:address.town].decode(), folded[address.town:address.numbers].decode(), folded[address.numbers:].decode(),
    )


def folded_address(str text not None):
    """Town, numbers and building in one folded text. ValueError when it is too long to fold."""
    cdef Address address
    return folded_bytes(text, &address).decode()


def address_nearness(str one not None, str other not None):
    """How two addresses compare. ValueError when one is too long to fold."""
    cdef Address first, second
    cdef bytes a = folded_bytes(one, &first), b = folded_bytes(other, &second)
    return AddressNearness(compare_addresses(a, &first, b, &second))


def key_of_town(str text not None):
    """The key of municipality and town, 0 when either is not known. ValueError when the text is too long to fold."""
    cdef Address address
    cdef bytes folded = folded_bytes(text, &address)
    return town_key(folded, &address)
