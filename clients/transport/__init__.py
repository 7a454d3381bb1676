"""Transports, Trio and blocking: thin shells that move bytes between a TLS socket and `core.wire.ClientConnection`."""
