"""Reports, what is in their HTML as a browser would parse it, and data that tries to become markup."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from xml.sax.saxutils import quoteattr

from support.builders import at, token
from support.diagrams import document, edge, shape
from tokctl.analysis.redaction import Redactor
from tokctl.bpmn.parser import read_definitions
from tokctl.report.page import load_templates, render_report
from tokctl.services.report import ReportReader
from tokctl.store import open_store

HOSTILE = """"'></title></style></pre><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}{% raw %}\u202e&lt;"""
MAX_DEPTH = 512
"""Elements within elements: browsers flatten what is deeper."""
VOID = {"br", "img", "input", "link", "meta"}
TAGS = frozenset(
    """html head meta title style body a header h1 p nav ul ol li main section h2 h3 dl dt dd article code div details
    summary strong span pre table caption thead tbody tr th td svg g path rect circle line text tspan footer script br
    time h4 h5 h6 label input
    """.split()  # noqa: SIM905 - as a list it has a line for each
)
ATTRIBUTES = frozenset(
    """lang charset http-equiv content name class href id tabindex aria-label aria-labelledby role scope viewbox
    x y x1 x2 y1 y2 width height rx cx cy r d transform xmlns data-element-id data-target data-class datetime title
    type autocomplete hidden
    """.split()  # noqa: SIM905
)


NOW = at(3600)
TEMPLATES = load_templates()


def make_report(several, instances, model: str = "", *, name: str = "a.db", redact=(), now=NOW, base=None) -> str:
    """Return the HTML of a report about instances; ``base`` has the ids of those that the others are compared with."""
    with open_store(":memory:", write=True, create=True) as store:
        with store.write() as batch:
            for definition in read_definitions(model.encode(), "model") if model else ():
                batch.put_definition(definition)
            for one in instances:
                batch.put(one, [token for token in several if token.instance_id == one.instance_id])
        ids = [one.instance_id for one in instances if one.instance_id not in (base or ())]
        reader = ReportReader(store, now, source=(name, "store"), redaction=Redactor(redact), clock=lambda: now)
        against = None if base is None else ("the base", base)
        is_single = len(ids) == 1 and base is None
        made = reader.read_instance(ids[0]) if is_single else reader.read_instances(ids, base=against)
    return render_report(made, TEMPLATES)


def make_hostile_token(number: int, instance_id: str, **fields):
    values = {
        "element_id": HOSTILE,
        "element_type": HOSTILE,
        "element_name": HOSTILE,
        "created_at": at(number),
        "variables": {HOSTILE: [HOSTILE]},
        "execution_context": {
            "error_message": HOSTILE,
            "worker_id": HOSTILE,
            "waiting_for": f"message:{HOSTILE}",
            "retries_left": 0,
            "retries_used": 9,
        },
        "flow_history": [{"from_element": HOSTILE, "via_flow": HOSTILE, "timestamp": "2025-01-01T00:00:00Z"}],
    }
    return token(f"{number}{HOSTILE}", instance_id, **values | fields)


HOSTILE_MODEL = document(
    f'<task id="a" name={quoteattr(HOSTILE)}/><task id="b" name="b"/>'
    f'<sequenceFlow id="f" name={quoteattr(HOSTILE)} sourceRef="a" targetRef="b"/>',
    shape("a", more='bioc:stroke="#ff0000" bioc:fill="#00ff00"') + shape("b", 200) + edge("f", (100, 40), (200, 40)),
)


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, its texts by element, and tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.mismatches: list[str] = []
        self.depth = 0
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.mismatches += self._open

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), attrs
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self.depth = max(self.depth, len(self._open))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.mismatches.append(tag)

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def text(self, *tags: str) -> str:
        """Return the text in these elements; without tags, all that is not code."""
        return "".join(data for tag, data in self.texts if (tag in tags if tags else tag not in {"style", "script"}))

    def values(self, attribute: str) -> list[str]:
        return [
            value or "" for _, attributes in self.elements for name, value in attributes.items() if name == attribute
        ]


def check_page(html: str) -> Page:
    """Parse a report, and check what is so in each: only known elements, no request, no code that is not its own."""
    page = Page(html)
    assert not page.mismatches
    assert page.depth < MAX_DEPTH
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    ids, links = page.values("id"), page.values("href")
    assert len(ids) == len(set(ids))
    assert {link[:1] for link in links} <= {"#"}
    assert {link[1:] for link in links} | set(page.values("aria-labelledby")) <= set(ids)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    directives = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    allowed = {"style-src": page.text("style"), "script-src": page.text("script")}
    assert directives == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"} | {
        name: f"'sha256-{b64encode(sha256(code.encode()).digest()).decode()}'" for name, code in allowed.items()
    }
    assert [tag for tag, _ in page.elements if tag in {"style", "script"}] == ["style", "script"]
    assert not re.search(r"@import|url\(|fetch|XMLHttpRequest|eval|innerHTML", page.text("style", "script"))
    return page
