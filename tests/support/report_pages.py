"""What is in the HTML of a report, as a browser would parse it; and data that tries to become markup."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

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
