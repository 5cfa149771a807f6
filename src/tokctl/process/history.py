"""The way through the model: every arrival at an element, with its wait and its duration.

Waits and durations are in milliseconds. What a source does not say stays None; nothing is guessed
silently: whatever is computed rather than given says so.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from tokctl.errors import NotFoundError
from tokctl.process.model import FlowHop, Token, duration, from_micros, to_micros
from tokctl.process.tree import Forest, TreeRow, build, is_joining

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from tokctl.process.model import Definition
