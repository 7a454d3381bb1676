"""Columns over bytes: how a batch lies in a payload, checked in one pass without an object a row (docs/protocol.md)."""

import sys

if sys.byteorder != "little":
    raise ImportError("columns are read and written in place as little-endian; this machine is big-endian")
