"""The OpenAPI document compared with real responses by schemathesis."""

from __future__ import annotations

import pytest


@pytest.mark.timeout(600)  # half a minute of computing, on a busy machine much longer
def test_schemathesis_finds_no_errors(examination):
    process, said = examination
    process.wait()
    text = said.read_text(encoding="utf-8")
    assert process.returncode == 0, text[-8000:]
    assert "Tested: 31" in text
