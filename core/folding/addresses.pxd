# Folding of addresses (docs/folding.md, section 5).

from libc.stdint cimport uint8_t, uint16_t, uint32_t

# Where the parts of a folded address end: out[0:town] is the town, [town:numbers] the numbers as 1-2-3, [numbers:length]
# the building. Prefecture and municipality are not in the text: they are numbers.
ctypedef struct Address:
    int town
    int numbers
    int length
    uint16_t municipality    # number of the name of today's city, town, village or special ward; 0: none known
    uint8_t prefecture       # 1 to 47; 0: not said, and the municipality's name is not of one prefecture only
    uint8_t ward             # ward of a designated city, from 1 in the order of the area codes; 0: none said
    uint8_t former           # 1: the municipality was written with its name before a merger, which may take in the town's

cdef enum:
    ADDRESS_EQUAL = 0
    ADDRESS_BUT_BUILDING = 1     # equal but for the building, or only one says one
    ADDRESS_COMPATIBLE = 2       # one says less (no municipality, no ward, fewer numbers), equal as far as it goes
    ADDRESS_SAME_TOWN = 3
    ADDRESS_SAME_AREA = 4        # same municipality
    ADDRESS_DIFFERENT = 5
    ADDRESS_UNKNOWN = 6          # one of them is empty

# Folds an address. Bytes written to out, or -1 when the text is no UTF-8 or does not fit.
cdef int fold_address(const uint8_t *text, int length, uint8_t *out, int capacity, Address *address) noexcept nogil
# How two folded addresses compare: the first of ADDRESS_ that holds.
cdef int compare_addresses(
    const uint8_t *one, const Address *one_parts, const uint8_t *other, const Address *other_parts
) noexcept nogil
# A number for municipality and town, for keys: equal for addresses in one town, whatever they say of prefecture and ward;
# 0 when either is not known.
cdef uint32_t town_key(const uint8_t *folded, const Address *address) noexcept nogil
