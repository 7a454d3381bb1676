"""Record codec: how one resident is laid out in bytes, and how text and dates are packed."""
