# The items of a question and of a record, folded when they are needed, and their comparison (docs/matching.md, 3 and 4).

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from jukinet.core.folding.addresses cimport Address
from jukinet.core.matching.model cimport ModelView
from jukinet.core.records.record cimport ResidentRecord
from jukinet.core.store.snapshot cimport RegisterView

cdef enum:
    KANA_ROOM = 256
    NAME_ROOM = 768
    ADDRESS_ROOM = 1536
    ITEM_BAD_NAME = 1
    ITEM_BAD_KANA = 2
    ITEM_BAD_ADDRESS = 4

cdef double BEARERS_UNKNOWN         # below every share

# A question. Folded texts are 0 long where there is none, or nothing is left.
ctypedef struct Asked:
    int exact_length
    int kana_length
    int kana_part
    int name_length
    int name_part
    int name_points                 # characters of the folded name
    int address_length
    uint32_t birth_date             # packed
    double kana_log_share           # logarithm of the share of people who have the reading, one of them left out; see BEARERS_UNKNOWN
    double name_log_share           # the same of the name as written
    uint8_t sex
    uint8_t bad                     # ITEM_BAD_ bits
    uint8_t placed                  # there is an address, if only a municipality
    const uint8_t *raw_name
    const uint8_t *raw_address
    uint32_t raw_name_length
    uint32_t raw_address_length
    Address address_parts
    uint8_t exact[KANA_ROOM]
    uint8_t kana[KANA_ROOM]
    uint8_t name[NAME_ROOM]
    uint8_t address[ADDRESS_ROOM]

ctypedef struct Levels:
    uint8_t kana
    uint8_t name
    uint8_t date
    uint8_t sex
    uint8_t place
    uint8_t place_exact             # the address is equal before folding
    double ratio                    # natural logarithm of the likelihood ratio

# Folds what a row has; what cannot be folded is told in asked.bad.
cdef void ask(
    Asked *asked, const uint8_t *name, uint32_t name_length, const uint8_t *kana, uint32_t kana_length,
    uint32_t birth_date, uint8_t sex, const uint8_t *address, uint32_t address_length
) noexcept nogil
# Compares a question with a record, its alias too; the better of the two. With `by_date` the record was come by through its
# birth date alone: False, and nothing is set, unless the date is equal and the name or reading is close.
cdef bint compare_record(
    const ModelView *model, const Asked *asked, const ResidentRecord *record, const RegisterView *view, bint by_date, Levels *out
) noexcept nogil
