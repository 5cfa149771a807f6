"""``tokctl report``."""

from __future__ import annotations

import re

import pytest

from support.documented_server import DocumentedServer
from support.report_pages import check_page


def test_an_instance_and_all_instances_are_reported(tokctl, known, tmp_path):
    for words, title in ((["@latest"], "Instance "), (["--process", "*"], "4 instances")):
        ran = tokctl("report", *words, "--store", known, "--out", tmp_path / "a.html")
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        html = (tmp_path / "a.html").read_text()
        assert check_page(html).text("h1").startswith(title)
        assert len(html) < 1_000_000


def test_a_piped_response_is_reported_as_of_an_earlier_time(tokctl, orders, tmp_path):
    words = ["--process", "*", "--file", "-", "--at", "10m", "--out", tmp_path / "a.html"]
    assert tokctl("report", *words, stdin=orders.read_bytes()) == (0, "", "")
    text = check_page((tmp_path / "a.html").read_text()).text()
    assert "State at 2025-01-11 10:30:00 UTC, from standard input" in text


def test_two_periods_are_shown_side_by_side(tokctl, known, tmp_path):
    out = tmp_path / "a.html"
    words = ("report", "--store", known, "--out", out, "--process", "order-processing")
    assert tokctl(*words, "--compare", "..2025-01-11T10:20:00Z") == (0, "", "")
    text = check_page(out.read_text()).text()
    assert "Comparison with ..2025-01-11T10:20:00Z" in text


class Incomplete(DocumentedServer):
    """Cannot return the tokens of one instance."""

    def _answer(self, store, path, given):
        if path[3:] == ["ord-1002", "tokens"]:
            raise ValueError("broken")
        return super()._answer(store, path, given)


def test_what_a_server_cannot_return_is_named(tokctl, known, tmp_path):
    server, out = Incomplete(known), tmp_path / "a.html"
    words = ("--server", server.url, "--engine-kind", "rest", "--out", out)
    try:
        ran = tokctl("report", "ord-1001", "ord-1002", *words)
        assert (ran.code, ran.err.count("\n")) == (5, 1)
        text = check_page(out.read_text()).text()
        assert "Instance ord-1002 could not be read: " in text
        assert f"from {server.url}" in text
        out.unlink()
        alone = tokctl("report", "ord-1002", *words)
        assert (alone.code, alone.err.count("\n"), out.exists()) == (2, 1, False)
    finally:
        server.close()


def test_only_instances_with_problems_are_reported(tokctl, known, tmp_path):
    assert tokctl("report", "--troubled", "--store", known, "--out", tmp_path / "a.html").code == 0
    troubled = re.findall("instances? of ([\\d,]+) with problems", (tmp_path / "a.html").read_text())
    assert (
        tokctl("debug", "--store", known, "-o", "json", "--query", "summary.troubled_instances").out.split() == troubled
    )


def test_values_are_redacted(tokctl, known, tmp_path):
    ran = tokctl(
        "report", "--process", "*", "--store", known, "--out", tmp_path / "a.html", "--redact", "variables.nix"
    )
    assert ran == (0, "", "--redact 'variables.nix' matches nothing.\n")
    assert "variables.nix" in (tmp_path / "a.html").read_text()


def test_the_thresholds_are_those_of_the_configuration(tokctl, known, tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    monkeypatch.setenv("TOKCTL_CONFIG", str(config))

    def finds_long_running(limit: str) -> bool:
        config.write_text(f"debug: {{long_running: {limit}}}")
        assert tokctl("report", "--process", "*", "--store", known, "--out", tmp_path / "a.html").code == 0
        return "LONG_RUNNING_TOKENS" in (tmp_path / "a.html").read_text()

    assert finds_long_running("1s")
    assert not finds_long_running("9999d")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "a report needs a file to write to. Add --out FILE.html."),
        (["--out", "a.pdf"], 2, "cannot write a report to a.pdf. Use a name that ends in .html."),
        (
            ["i", "--troubled", "--out", "a.html"],
            2,
            "INSTANCE cannot be used with --process, --since, --until or --troubled. Use only one of them.",
        ),
        (
            ["i", "--compare", "v1", "--out", "a.html"],
            2,
            "--compare cannot be used with INSTANCE or --troubled. Use --process.",
        ),
        (["-p", "*", "--compare", "..", "--out", "a.html"], 2, "--compare: the period is empty."),
        (["-p", "*", "--compare", "v9", "--out", "a.html"], 3, "no baseline to compare with: no instance of version 9"),
        (["-p", "*", "--version", "9", "--out", "a.html"], 3, "no process instance matches."),
        (["--process", "none", "--out", "a.html"], 3, "no process instance matches. See 'tokctl instances list'."),
        (["@latest", "--out", f"{'a' * 300}.html"], 6, f"cannot write {'a' * 300}.html: File name too long."),
        (["@latest", "--out", "missing/a.html"], 6, "cannot write missing/a.html: No such file or directory."),
    ],
)
def test_errors_are_one_clear_line(tokctl, known, words, code, message):
    ran = tokctl("report", *words, "--store", known)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"error: {message}")
    assert ran.err.count("\n") == 1


@pytest.mark.slow
def test_a_report_without_its_library(shell, known, tmp_path):
    (tmp_path / "jinja2.py").write_text("raise ImportError")
    out = tmp_path / "a.html"
    ran = shell("report", "@latest", "--store", known, "--out", out, env={"PYTHONPATH": str(tmp_path)})
    assert (ran.code, ran.out) == (2, "")
    expected = "error: a report needs Jinja2, which is not installed. Install it: pip install 'tokctl[report]'.\n"
    assert ran.err == expected
    assert not out.exists()


def test_a_browser_opens_the_selected_element(tokctl, known, tmp_path, browser):
    """It runs the script and applies the style sheet: nothing violates the page's own policy."""
    out = tmp_path / "a.html"
    tokctl("report", "@latest", "--store", known, "--out", out)
    browser.open(f"{out.as_uri()}#element-1")
    assert browser.run("return document.querySelector('#element-1').open")
    assert browser.messages() == []
