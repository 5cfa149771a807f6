"""Where things are that tests read."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
FIXTURES = TESTS / "fixtures"
RECORDINGS = FIXTURES / "recordings"
GOLDEN = TESTS / "golden"
MODELS = TESTS / "simulation" / "models"
