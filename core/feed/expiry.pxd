# Whether a record is past its last day, for kernels (core/law/retention.py says the rules; Cutoffs.expired is the twin).

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.records.record cimport STATE_DEAD, STATE_MOVED_AWAY, STATE_REMOVED

# A rule as of one day: day numbers since 2000-01-01. Events before short_day (long_day) were too long ago.
ctypedef struct Expiry:
    uint32_t day
    uint32_t short_day
    uint32_t long_day

cdef inline bint shown_expired(const Expiry *expiry, uint8_t state, uint32_t notice) noexcept nogil:
    """Of a record that the register shows."""
    if state == STATE_DEAD:
        return notice < expiry.short_day
    if state == STATE_MOVED_AWAY or state == STATE_REMOVED:
        return notice < expiry.short_day and notice < expiry.long_day
    return False

cdef inline bint replaced_expired(const Expiry *expiry, uint8_t state, uint32_t notice, uint32_t replaced) noexcept nogil:
    """Of a record that another one replaced."""
    if state == STATE_DEAD:
        return notice < expiry.short_day
    if state == STATE_MOVED_AWAY or state == STATE_REMOVED:
        return notice < expiry.short_day and (notice < expiry.long_day or replaced < expiry.day)
    return replaced < expiry.short_day
