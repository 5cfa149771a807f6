"""See ``calling``."""

from support.calling import calls  # noqa: F401 - a fixture
