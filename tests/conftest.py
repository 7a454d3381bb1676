"""What holds for all tests: no example of a property fails for having taken long, which only tells of the machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
