"""``tokctl diagram``."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from support.diagrams import document, groups
from support.paths import GOLDEN
from support.terminal import Terminal
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

MODEL = Path(sys.modules[load_demo.__module__].__file__).parent / "order.bpmn"
NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
PICTURES = {
    "diagram-instance": ["@latest"],
    "diagram-process": ["--process", "order-processing", "--heat", "time"],
    "diagram-model": ["--model", MODEL],
}
WIDTHS = (40, 80, 200)
NOTE = "The model has no diagram: the elements are laid out automatically.\n"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The store of the demo."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    models, scenario = load_demo()
    with open_store(str(path), write=True, create=True) as store, StoreSink(store, batch_size=10_000) as sink:
        simulate(models, scenario, sink, end=NOW)
    return path


def compare(name, text):
    """See ``tests/render/formats/test_table.py``."""
    path = GOLDEN / name
    if os.environ.get("TOKCTL_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(tokctl, demo, name):
    ran = tokctl("diagram", *PICTURES[name], "--store", demo, "--format", "svg", now=NOW)
    assert (ran.code, ran.err) == (0, NOTE)
    compare(f"{name}.svg", ran.out)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_drawings_are_as_they_were(tokctl, demo, name, width):
    ran = tokctl("diagram", *PICTURES[name], "--store", demo, "--utc", now=NOW, width=width)
    assert (ran.code, ran.err) == (0, "")
    compare(f"{name}-{width}.txt", ran.out)


@pytest.mark.parametrize(
    ("name", "options"),
    [("colour", {"tty": True}), ("ascii", {"tty": True, "encoding": "ascii"})],
)
def test_drawings_on_terminals_are_as_they_were(tokctl, demo, name, options):
    words = ["--color", "always" if name == "colour" else "never", "--no-pager", "--utc"]
    ran = tokctl("diagram", *PICTURES["diagram-process"], "--store", demo, *words, now=NOW, **options)
    assert ran.code == 0
    compare(f"diagram-{name}.txt", ran.out)


def test_a_pipe_has_80_columns(tokctl, demo, monkeypatch):
    ran = tokctl("diagram", "@latest", "--store", demo, now=NOW, width="")
    assert ran.out == tokctl("diagram", "@latest", "--store", demo, now=NOW, width=80).out


STEPS = "ABCDEFGHIJKLMNOPQRST"


@pytest.mark.slow
@pytest.mark.parametrize(("options", "lines", "boxes"), [([], 12, 1), ([], 60, 0), (["--full"], 12, 0)])
def test_sequences_are_folded_if_the_terminal_is_too_small(tmp_path, options, lines, boxes):
    flows = (f'<sequenceFlow id="{a}{b}" sourceRef="{a}" targetRef="{b}"/>' for a, b in pairwise(STEPS))
    path = tmp_path / "m.bpmn"
    path.write_text(document("".join(f'<userTask id="{one}"/>' for one in STEPS) + "".join(flows)))
    with Terminal("diagram", "--model", path, *options, lines=lines) as seen:
        assert seen.end() == 0
        assert seen.raw.count("─18 elements".encode()) == boxes
        assert (b"1 box for 18 elements of straight sequences. --full draws each of them." in seen.raw) == bool(boxes)


def test_a_failed_token_is_seen(tokctl, demo):
    ran = tokctl("diagram", "-p", "order-processing", "--store", demo, now=NOW, width=80)
    assert "✗1" in ran.out
    assert "✗ FAILED" in ran.out


def test_the_format_follows_from_the_name(tokctl, tmp_path):
    for name, start in (("a.svg", b"<svg"), ("b.PNG", b"\x89PNG"), ("c.txt", "╭─start".encode())):
        ran = tokctl("diagram", "--model", MODEL, "--out", tmp_path / name, "--quiet")
        assert ran == (0, "", "")
        assert (tmp_path / name).read_bytes().startswith(start)


def test_only_a_period_is_drawn(tokctl, demo):
    def drawn(*options):
        ran = tokctl("diagram", "--process", "order-processing", "--store", demo, "-f", "svg", *options, now=NOW)
        return sum("unreached" in group.get("class") for group in groups(ET.fromstring(ran.out)).values())

    assert drawn() < drawn("--since", "5m")


def test_an_earlier_state_is_drawn(tokctl, demo):
    ran = tokctl("diagram", "@latest", "--store", demo, "--at", "5m", "--utc", now=NOW)
    assert "as of 2025-06-02T11:55:00.000Z" in ran.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--out", "x.gif"],
            2,
            "cannot tell the format of --out x.gif. Use a name that ends in .svg, .png or .txt, or --format.",
        ),
        (["--format", "svgg"], 2, "invalid --format 'svgg' (did you mean 'svg'?). Valid: text, svg, png."),
        (["--heat", "tme"], 2, "invalid --heat 'tme' (did you mean 'time'?). Valid: time, visits."),
        (["i", "--process", "p"], 2, "INSTANCE cannot be used with --process. Remove one of them."),
        (["--process", ""], 2, "--process is empty. Give it a pattern, or remove it."),
        (["i", "--version", "2"], 2, "--version needs --process. Add --process ID."),
        (
            ["--model", MODEL, "--heat", "time"],
            2,
            "--since, --until and --heat need INSTANCE or --process. Add one, or remove them.",
        ),
        (["-p", "p"], 3, "the model of 'p' is unknown. Check its id, or give the BPMN file with --model."),
        (["-p", "p", "--version", "9"], 3, "the model of 'p', version 9, is unknown. Check its id,"),
        (["--model", "missing.bpmn"], 3, "missing.bpmn does not exist."),
        (["--model", __file__], 7, f"{__file__}, line 1: not well-formed XML"),
        (["--model", MODEL, "--out", "missing/x.svg"], 6, "cannot write missing/x.svg: No such file or directory."),
    ],
)
def test_errors_are_one_clear_line(tokctl, demo, monkeypatch, words, code, message):
    monkeypatch.setenv("TOKCTL_STORE", str(demo))
    ran = tokctl("diagram", *words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"error: {message}")
    assert ran.err.count("\n") == 1


def test_no_source_is_overwritten(tokctl, own_store, tmp_path):
    model, answer = tmp_path / "a.bpmn", tmp_path / "a.json"
    model.write_bytes(MODEL.read_bytes())
    answer.write_text("{}")
    (tmp_path / "link").symlink_to(model)
    for words, out, told in (
        (["@latest", "--model", model, "--store", own_store], own_store, "the store"),
        (["--model", model], model, "an input file"),
        (["--model", model], tmp_path / "link", "an input file"),
        (["--model", model, "--file", answer], answer, "an input file"),
    ):
        before = out.read_bytes()
        ran = tokctl("diagram", *words, "-f", "svg", "--out", out)
        assert (ran.code, ran.err) == (2, f"error: --out {out} would overwrite {told}. Name another file.\n")
        assert out.read_bytes() == before


@pytest.mark.slow
def test_png_without_its_library(shell, tmp_path):
    (tmp_path / "resvg_py.py").write_text("raise ImportError")
    out = tmp_path / "a.png"
    ran = shell("diagram", "--model", MODEL, "--out", out, env={"PYTHONPATH": str(tmp_path)})
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: PNG needs resvg-py, which is not installed. Install it: pip install 'tokctl[png]'.\n"
    assert not out.exists()
