"""Fills the templates of the web pages, and sets the headers that restrict what browsers may do with them.

Links in the pages are relative, so that a proxy may add a prefix to their paths. Ids are in queries: in a path,
browsers would resolve ``..``, and proxies decode ``%2F``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from jinja2 import ChoiceLoader, PackageLoader, PrefixLoader

from tokctl.model.api_tokens import ApiToken
from tokctl.report.page import load_templates
from tokctl.report.policy import hash_source, read_asset
from tokctl.server.cache import Headers
from tokctl.text import one_line
from tokctl.version import __version__

HTML = b"text/html; charset=utf-8"
_HEADERS: Headers = [
    (b"referrer-policy", b"same-origin"),  # without a referrer, browsers send no Origin with forms
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class PageRenderer:
    """Makes pages from templates: HTML with the headers that belong to it."""

    def __init__(self) -> None:
        """Load the templates. Raises UsageError: Jinja2 is not installed."""
        report = PackageLoader("tokctl.report")
        loader = ChoiceLoader([PackageLoader("tokctl.ui"), report, PrefixLoader({"report": report})])
        self._templates = load_templates().overlay(loader=loader)
        self._templates.globals.update(link=make_link, one_line=one_line)
        for name in self._templates.list_templates(extensions=["jinja"]):
            self._templates.get_template(name)  # compiling one would delay other requests
        self._report_style = read_asset("tokctl.report", "report.css")
        self._style = read_asset("tokctl.ui", "ui.css")

    def render(
        self,
        name: str,
        token: ApiToken | None,
        *,
        style: str = "",
        script: str = "",
        **values: Any,
    ) -> tuple[Headers, bytes]:
        """Return headers and HTML of a page for the holder of an API token, None if there is no session.

        ``style`` and ``script`` are those of a report, if the page is one.
        """
        style = (style or self._report_style) + self._style
        hashes = {"style-src": style, "script-src": script}
        sources = "".join(f" {name} {hash_source(code)};" for name, code in hashes.items() if code)
        policy = f"default-src 'none';{sources} form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        html = self._templates.get_template(f"{name}.html.jinja").render(
            values, token=token, style=style, script=script, version=__version__
        )
        return [*_HEADERS, (b"content-security-policy", policy.encode())], html.encode("utf-8", "replace")


def make_link(page: str, **parameters: object) -> str:
    """Return a relative link to a page; parameters that are empty are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value not in (None, "", 0)})
    return f"{page}?{query}" if query else page
