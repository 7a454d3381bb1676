"""Operators of the bodies: who may ask, how they prove it, and what their class allows (docs/operators.md)."""
