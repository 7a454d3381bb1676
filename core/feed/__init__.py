"""Feeds: what notifications make of the register, how they are kept, and the engine that applies them."""
