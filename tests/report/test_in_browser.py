"""Reports in a real browser: what a reader sees and does, with the mouse, the keyboard, on paper and on a phone."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from support.browser import require_programs
from support.builders import at, instance, token
from support.diagrams import document, edge, shape
from support.report_pages import HOSTILE, HOSTILE_MODEL, make_hostile_token, make_report
from tokctl.analysis.redaction import Redactor
from tokctl.report.page import load_templates, render_report
from tokctl.services.report import ReportReader
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

pytestmark = pytest.mark.slow

NOW = at(0)
SELECTED = "document.querySelector('.elements > details.selected')?.open"


class Demo:
    """The files of the demo's reports: of the failed instance, of several, and of two sides."""

    def __init__(self, folder) -> None:
        with open_store(str(folder / "demo.db"), write=True, create=True) as store:
            with StoreSink(store, batch_size=100) as sink:
                simulate(*load_demo(), sink, end=NOW)
            ids = list(store.all_instance_ids())
            failed = next(one for one in ids if store.instance(one).failed_tokens)
            self.failed_id = failed
            self.one = self._write(folder / "one.html", store, lambda reader: reader.read_instance(failed))
            some = [failed, *(one for one in ids if one != failed)][:6]
            self.all = self._write(folder / "all.html", store, lambda reader: reader.read_instances(some))
            others = "the others", [one for one in ids if one not in some]
            self.two = self._write(
                folder / "two.html", store, lambda reader: reader.read_instances(some, base=others, details=False)
            )

    @staticmethod
    def _write(path, store, read):
        reader = ReportReader(store, NOW, source=("demo.db", "store"), redaction=Redactor(()), clock=lambda: NOW)
        path.write_text(render_report(read(reader), load_templates()), encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return Demo(tmp_path_factory.mktemp("demo"))


def open_page(browser, path, fragment: str = "") -> None:
    """Open a file; nothing but the file itself is requested, and nothing is written to the console."""
    browser.open(f"{path.as_uri()}{fragment}")
    check_quiet(browser, path)


def check_quiet(browser, path) -> None:
    assert {url.partition("#")[0] for url in browser.requests()} <= {path.as_uri()}
    assert browser.messages() == []


def open_all_details(browser) -> None:
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def overflow(browser) -> int:
    """By how much the page is wider than the window, in pixels."""
    return browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize(("name", "dark"), [("one", False), ("one", True), ("all", False), ("two", True)])
def test_anyone_can_use_it(browser, demo, name, dark):
    """axe-core finds nothing: names, roles, contrasts, landmarks, headings."""
    path = getattr(demo, name)
    browser.prefer(dark=dark)
    open_page(browser, path)
    open_all_details(browser)
    if name == "all":  # one of them is enough
        browser.run("document.querySelectorAll('.instance + .instance').forEach((one) => { one.open = false; })")
    assert browser.accessibility_problems() == []
    check_quiet(browser, path)


def test_files_are_small(demo):
    """At most 1 MB: the data of the demo is next to nothing."""
    assert all(path.stat().st_size < 1_000_000 for path in (demo.one, demo.all, demo.two))


def test_the_first_page_tells_what_happened_and_why(browser, demo):
    open_page(browser, demo.one)
    assert "Send Invoice FAILED" in browser.text(".summary")
    incident = browser.text("section[aria-labelledby=incident]")
    for fact in ("failed after 3 retries", "no retries left", "cannot continue without an intervention", "Both ready"):
        assert fact in incident
    story = browser.text("ol.story")
    assert story.index("Validate Order completed") < story.index("Send Invoice failed after 3 retries")
    assert not re.search(r"\d\.\d{6}Z", browser.text()), "times are shown to the second"


def test_a_click_on_an_element_shows_its_tokens(browser, demo):
    open_page(browser, demo.one)
    selector = ".diagram a[aria-label^='Send Invoice']"
    browser.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
    browser.click(selector)
    browser.wait_until(SELECTED)
    heights = browser.run("return [...document.querySelectorAll('.elements > details')].map((one) => one.offsetHeight)")
    assert sum(map(bool, heights)) == 1
    text = browser.text(".elements")
    for fact in ("FAILED", "no retries left", "invoice-worker-01", '"amount": 75.5', "from split via flow_8_papers"):
        assert fact in text
    assert browser.run("return document.activeElement.closest('details').open")
    browser.click(".chosen button")
    assert browser.run("return document.querySelectorAll('.elements > details:not([open])').length") > 5
    assert browser.run("return [...document.querySelectorAll('.elements > details')].every((one) => one.offsetHeight)")
    check_quiet(browser, demo.one)


def test_rows_are_filtered(browser, demo):
    open_page(browser, demo.one)

    def rows() -> list[str]:
        return browser.run(
            "return [...document.querySelectorAll('#bars tr')].filter((row) => row.offsetHeight)"
            ".map((row) => row.querySelector('th').innerText)"
        )

    everything = rows()
    browser.fill(".filter[data-target=bars] input[type=search]", "invoice failed")
    assert rows() == ["Send Invoice"]
    assert browser.text(".filter[data-target=bars] [role=status]") == f"1 of {len(everything)} shown"
    browser.fill(".filter[data-target=bars] input[type=search]", "")
    browser.click(".filter[data-target=bars] input[data-class=critical]")
    critical = rows()
    assert "Send Invoice" in critical
    assert "Pick Items" not in critical
    browser.click(".filter[data-target=bars] input[data-class=critical]")
    assert rows() == everything
    check_quiet(browser, demo.one)


def test_a_row_of_the_overview_opens_the_details_of_an_instance(browser, demo):
    open_page(browser, demo.all)
    first = "#instance-rows tr:first-child"
    assert demo.failed_id in browser.text(first)
    browser.click(f"{first} td:nth-child(3)")
    browser.wait_until("document.querySelector('#instance-1').open")
    details = browser.text("#instance-1")
    assert demo.failed_id in details
    assert "Send Invoice FAILED" in details
    browser.click("#instance-1 .story a")
    browser.wait_until("document.querySelector('#instance-1 .elements > details.selected')?.open")
    browser.fill(".filter[data-target=instance-rows] input[type=search]", demo.failed_id)
    assert browser.run("return document.querySelectorAll('#instance-rows tr:not([hidden])').length") == 1
    check_quiet(browser, demo.all)


def test_two_sides_are_shown_side_by_side(browser, demo):
    open_page(browser, demo.two)
    left, right = browser.run(
        "return [...document.querySelectorAll('.sides .diagram svg')].map((one) => one.getBoundingClientRect().left)"
    )
    assert left < right
    assert browser.run("return document.querySelectorAll('section[aria-labelledby=comparison] .plot').length") > 10
    assert "the others" in browser.text("section[aria-labelledby=comparison]")


def test_the_keyboard_reaches_everything(browser, demo):
    """Tab goes through links, diagram and filters in the order of the page; Enter selects an element."""
    open_page(browser, demo.one)
    seen = []
    for _ in range(60):
        browser.press("Tab")
        label = browser.run(
            "const one = document.activeElement; return (one.getAttribute('aria-label') || one.innerText || one.type)"
        )
        outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", label
        seen.append(label)
        if label.startswith("Send Invoice · serviceTask"):
            break
    assert seen[0] == "Skip to the content"
    assert "Time line" in seen
    assert "Diagram of order-processing" in seen
    assert seen[-1].startswith("Send Invoice · serviceTask")
    browser.press("Enter")
    browser.wait_until(SELECTED)
    assert browser.run("return document.activeElement.tagName") == "SUMMARY"
    assert "no retries left" in browser.text(".elements > details.selected")
    browser.press("Tab")
    assert browser.run("return document.activeElement.tagName") == "PRE"
    check_quiet(browser, demo.one)


def test_it_works_without_the_script(browser, demo):
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(demo.one.as_uri())
        summary = browser.find(".elements summary")
        assert summary
        browser.click(".elements summary")
        assert browser.messages() == []
        hidden = browser.devtools("Runtime.evaluate", expression="document.querySelector('.elements details').open")
        assert hidden["result"]["value"] is True
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("name", ["one", "all", "two"])
def test_it_fits_a_phone(browser, demo, name):
    """Tables and diagrams scroll by themselves; the page does not."""
    browser.set_size(400, 800)
    open_page(browser, getattr(demo, name))
    assert overflow(browser) <= 0
    open_all_details(browser)
    assert overflow(browser) <= 0


def test_print(browser, demo, tmp_path):
    """On paper everything is open, the diagram fits, and the page is light; afterwards all is as before."""
    browser.prefer(dark=True)
    open_page(browser, demo.one)
    closed = browser.run("return document.querySelectorAll('details:not([open])').length")
    pdf = browser.print_pdf()
    assert pdf.startswith(b"%PDF")
    assert browser.run("return document.querySelectorAll('details:not([open])').length") == closed
    text = read_pdf(pdf, tmp_path)
    for fact in ("Send Invoice FAILED", "invoice-worker-01", '"amount": 75.5', "Source and unknowns"):
        assert fact in text
    browser.prefer(dark=True, media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    cut = (
        "return [...document.querySelectorAll('.scroll, pre')].filter((one) => one.scrollHeight > one.clientHeight + 1)"
    )
    assert browser.run(f"{cut}.length") == 0


def read_pdf(pdf: bytes, folder) -> str:
    """Return the text of a PDF."""
    require_programs("pdftotext")
    (folder / "a.pdf").write_bytes(pdf)
    command = ("pdftotext", "-layout", "a.pdf", "-")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def make_large(tokens: int = 20_000, elements: int = 100) -> str:
    """Return the report of an instance that went round through its elements, and failed at last."""
    several = [
        token(
            f"t{n:05}",
            element_id=f"e{n % elements}",
            element_type="serviceTask",
            element_name=f"Step {n % elements}",
            parent_token_id=f"t{n - 1:05}" if n else None,
            created_at=at(n),
            completed_at=at(n + 1),
            variables={"round": n // elements, "items": list(range(20))},
        )
        for n in range(tokens - 1)
    ]
    several.append(
        token(
            "failed",
            element_id="e7",
            element_type="serviceTask",
            element_name="Step 7",
            state="FAILED",
            parent_token_id=several[-1].token_id,
            created_at=at(tokens),
            updated_at=at(tokens + 1),
            execution_context={"error_message": "disk full", "retries_left": 0},
        )
    )
    tasks = "".join(f'<serviceTask id="e{n}" name="Step {n}"/>' for n in range(elements))
    flows = "".join(
        f'<sequenceFlow id="f{n}" sourceRef="e{n}" targetRef="e{(n + 1) % elements}"/>' for n in range(elements)
    )
    shapes = "".join(shape(f"e{n}", 150 * (n % 10), 120 * (n // 10)) for n in range(elements))
    edges = "".join(
        edge(f"f{n}", (150 * (n % 10) + 100, 120 * (n // 10) + 40), (150 * (n % 10) + 150, 120 * (n // 10) + 40))
        for n in range(elements - 1)
    )
    return make_report(
        several, [instance(process_id="p", version=1)], document(tasks + flows, shapes + edges), now=at(tokens + 60)
    )


def test_an_instance_of_20_000_tokens(browser, tmp_path):
    """The page stays small, whatever the instance is: what is not shown is counted. The times are only printed."""
    path = tmp_path / "large.html"
    path.write_text(make_large(), encoding="utf-8")
    open_page(browser, path)
    interactive = browser.run(
        "const [one] = performance.getEntriesByType('navigation'); return [one.domInteractive, one.loadEventEnd]"
    )
    nodes = browser.run("return document.querySelectorAll('*').length")
    figures = f"interactive after {interactive[0]:.0f} ms, loaded after {interactive[1]:.0f} ms; {nodes:,} elements"
    assert nodes < 60_000
    assert path.stat().st_size < 4_000_000
    assert "Step 7 FAILED 59s ago: disk full." in browser.text(".summary")
    began = time.perf_counter()
    browser.click(".story .FAILED a")
    browser.wait_until(SELECTED)
    assert "disk full" in browser.text(".elements > details.selected")
    browser.fill(".filter[data-target=bars] input[type=search]", "failed")
    assert browser.run("return document.querySelectorAll('#bars tr:not([hidden])').length") == 1
    print(f"{figures}; a click and a filter took {time.perf_counter() - began:.2f} s")  # noqa: T201 - for people
    check_quiet(browser, path)


@pytest.mark.parametrize("number", [1, 2])
def test_hostile_data_does_nothing(browser, tmp_path, number):
    """Names, ids, variables, errors and models that are markup and script are shown as they are."""
    ids = [f"{HOSTILE}{n}" for n in range(number)]
    states = [{"state": "FAILED"}, {"state": HOSTILE}, {"state": "WAITING", "element_id": "a"}]
    several = [make_hostile_token(n, one, **fields) for one in ids for n, fields in enumerate(states)]
    about = [instance(one, process_id="p", version=1, business_key=HOSTILE) for one in ids]
    path = tmp_path / "hostile.html"
    path.write_text(make_report(several, about, HOSTILE_MODEL, name=HOSTILE), encoding="utf-8")
    open_page(browser, path)
    open_all_details(browser)
    assert browser.text().count("<script>alert(1)</script>") > 10
    assert "{{7*7}}" in browser.text()
    assert browser.run("return document.querySelectorAll('script').length") == 1
    assert browser.run("return document.querySelectorAll('img, iframe, object, base, link').length") == 0
    links = browser.run("return [...document.querySelectorAll('a')].map((one) => one.getAttribute('href'))")
    assert all(re.fullmatch(r"#[\w-]+", link) for link in links)
    for link in set(links):
        browser.run("location.hash = arguments[0]", link)
    assert browser.accessibility_problems() == []
    check_quiet(browser, path)


def test_no_script_but_its_own_runs(browser, demo):
    """The policy stops a script, a style and a request that get into the page nevertheless."""
    browser.open(demo.one.as_uri())
    browser.run(
        "const script = document.createElement('script'); script.textContent = 'window.broken = true';"
        "document.body.append(script);"
        "const image = new Image(); image.src = 'http://127.0.0.1:9/'; document.body.append(image);"
        "document.body.setAttribute('style', 'color: red')"
    )
    assert browser.run("return window.broken") is None
    assert browser.run("return getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    blocked = [message for message in browser.messages() if "Content Security Policy" in message]
    assert len(blocked) >= 3
