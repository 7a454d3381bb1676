"""Lets the tests of the prefecture's client find their samples and their peer."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
