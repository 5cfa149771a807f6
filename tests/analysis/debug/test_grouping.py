"""Error messages that differ only in numbers and ids are one."""

from __future__ import annotations

import pytest

from tokctl.analysis.debug.grouping import mask_variable_parts


@pytest.mark.parametrize(
    ("message", "masked"),
    [
        ("order 17 of 4711 failed", "order … of … failed"),
        ("HTTP 500 for order 9", "HTTP 500 for order …"),
        ("status=404, id 123", "status=404, id …"),
        ("ORA-00001: unique constraint 77", "ORA-00001: unique constraint …"),
        ("no row 6f1c2a9e-0b7d-4c1e-9a55-d0a3b1c2e4f5", "no row …"),
        ("0xdeadbeef1 at a1b2c3d4", "…xdeadbeef… at …"),
        ("no number here: decade, faced", "no number here: decade, faced"),
        ("", ""),
    ],
)
def test_numbers_and_ids_are_masked(message, masked):
    assert mask_variable_parts(message) == masked
