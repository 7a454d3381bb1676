"""Resident record codes on their way to a request: from text, integers or arrays to one column of u64."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from jukinet.core.codes import parse_codes
from jukinet.core.limits import CODES_PER_REQUEST_MAX
from jukinet.core.vocabulary import CODE_END, MALFORMED_CODE

Code: TypeAlias = "str | int"
"""One code: 11 digits as text, or the number they make."""
Codes: TypeAlias = "Iterable[str | int]"
"""Texts, integers, or a contiguous buffer of unsigned 64-bit numbers (``array('Q')``, numpy uint64), used in place."""


def code_number(code: Code) -> int:
    """The number of one code; MALFORMED_CODE for what is not 11 digits, so that its row answers MALFORMED."""
    if isinstance(code, str):
        return parse_codes((code,))[0]
    return code if 0 <= code < CODE_END else MALFORMED_CODE


def code_column(codes: Any) -> memoryview[int]:
    """One contiguous column of u64, without copying when ``codes`` already is one.

    TypeError for a buffer of another kind (signed or floating numbers, bytes, more than one dimension).
    """
    if isinstance(codes, str):
        raise TypeError("give a list of codes, or use lookup_one for a single code")
    try:
        view = memoryview(codes)
    except TypeError:
        return memoryview(_collect(codes))
    if view.format in ("Q", "L") and view.itemsize == 8 and view.ndim == 1 and view.c_contiguous:
        return view if view.format == "Q" else view.cast("B").cast("Q")
    raise TypeError(
        f"a buffer of codes must be one contiguous dimension of unsigned 64-bit numbers, not {view.format!r} x "
        f"{view.ndim}; for a numpy array use .astype('uint64')"
    )


def _collect(codes: Iterable[Code]) -> array[int]:
    listed = codes if isinstance(codes, list) else list(codes)
    if all(type(code) is str for code in listed):
        return parse_codes(listed)  # type: ignore[arg-type,unused-ignore]
    return array("Q", [code_number(code) for code in listed])


def batches(codes: Any, size: int = CODES_PER_REQUEST_MAX) -> Iterator[memoryview[int]]:
    """Split codes into columns of at most ``size``, the last one shorter. A buffer is split without copying; any other
    iterable is read as it is needed, so that it may be endless."""
    if size < 1:
        raise ValueError("size must be at least 1")
    try:
        memoryview(codes)
    except TypeError:
        waiting: list[Code] = []
        for code in codes:
            waiting.append(code)
            if len(waiting) == size:
                yield memoryview(_collect(waiting))
                waiting = []
        if waiting:
            yield memoryview(_collect(waiting))
        return
    column = code_column(codes)
    for start in range(0, len(column), size):
        yield column[start : start + size]
