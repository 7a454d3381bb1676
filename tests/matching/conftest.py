"""Puts this folder on the path, so that its tests can import the twins and the pair that stand beside them.

The twin of the notifications' columns stands in the folder of their own tests.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "notifications")]
