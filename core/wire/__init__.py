"""The wire protocol without I/O: frames, messages, columns and the states of a connection."""
