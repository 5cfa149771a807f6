"""See ``calling``."""

from calling import calls  # noqa: F401 - a fixture
