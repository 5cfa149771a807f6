"""Where Node.js 20 or a compiler is missing, the tests of the real Strapi are skipped; in CI they fail."""

from __future__ import annotations

import pytest

from live.strapi_program import need_node


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_programs(monkeypatch, tmp_path, ci, outcome):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(outcome, match=r"not installed: node, npm, g\+\+, make, python3"):
        need_node()
    for name in ("node", "npm", "g++", "make", "python3"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.20.4\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(outcome, match=r"not installed: Node.js 20 \(there is v18.20.4\)"):
        need_node()
