"""The scan of shown records for those past their last day: the status columns of the blocks, and nothing else of them."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from jukinet.core.records.record cimport status_registered_day, status_state
from jukinet.core.store.block cimport (
    BLOCK_BYTES_MIN, BLOCK_ENTRY_BYTES, BLOCK_FORMAT, BLOCK_HEADER_BYTES, BlockView, block_bucket, block_delta,
    block_status, block_view,
)

from jukinet.core.errors import StoreCorruptError


cdef bint scan_block(
    const unsigned char *block, size_t length, uint64_t bucket, uint64_t width, uint64_t first, uint64_t stop,
    const Expiry *expiry, list found,
) except -1:
    """Add the expired keys of one block. False: the block is damaged."""
    cdef BlockView view
    cdef uint32_t i
    cdef uint64_t key, status
    if length < BLOCK_BYTES_MIN or block_bucket(block) != bucket or block[6] != BLOCK_FORMAT:
        return False
    block_view(block, &view)
    if BLOCK_HEADER_BYTES + <size_t>view.count * (BLOCK_ENTRY_BYTES + (4 if view.wide else 2)) + 2 > length:
        return False
    for i in range(view.count):
        status = block_status(&view, i)
        if shown_expired(expiry, status_state(status), status_registered_day(status)):
            key = bucket * width + block_delta(&view, i)
            if first <= key < stop:
                found.append(key)
    return True


def expired_keys(blocks, uint64_t width, uint64_t first, uint64_t stop, cutoffs, size_t keys_max):
    """(keys, the key up to which was looked): expired keys in [first, stop), in order, of whole blocks.

    blocks: (key, value) buffers in order, from first's block on; no block after the one that brings ``keys_max`` keys or
    more is read. Raises StoreCorruptError.
    """
    cdef Py_buffer name, value
    cdef uint64_t bucket
    cdef bint whole
    cdef Expiry expiry
    cdef list found = []
    expiry.day, expiry.short_day, expiry.long_day = cutoffs.day, cutoffs.short, cutoffs.long
    for key_buffer, block in blocks:
        PyObject_GetBuffer(key_buffer, &name, PyBUF_SIMPLE)
        bucket = (<const uint64_t *>name.buf)[0]
        PyBuffer_Release(&name)
        if bucket * width >= stop:
            break
        PyObject_GetBuffer(block, &value, PyBUF_SIMPLE)
        try:
            whole = scan_block(
                <const unsigned char *>value.buf, <size_t>value.len, bucket, width, first, stop, &expiry, found
            )
        finally:
            PyBuffer_Release(&value)
        if not whole:
            raise StoreCorruptError(f"the block of bucket {bucket} is damaged; run `jukinet store check`")
        if <size_t>len(found) >= keys_max:
            return found, min(stop, (bucket + 1) * width)
    return found, stop
