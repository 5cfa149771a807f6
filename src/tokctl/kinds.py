"""The kinds of servers and of output: lists that the configuration and shell completion also use."""

from __future__ import annotations

SERVER_ENGINES = {
    "atomd": "tokctl.engines.atomd",
    "camunda7": "tokctl.engines.camunda7",
    "flowable": "tokctl.engines.flowable",
    "rest": "tokctl.engines.rest",
}
"""Kind → module. A server is of the first kind that recognizes its response."""

FALLBACK_ENGINE = "rest"
"""The kind of a server that no kind recognizes: it may speak the documented API."""

BASIC_KINDS = frozenset({"camunda7", "flowable"})
"""Kinds of servers that take a credential of the form ``user:password`` as HTTP Basic authentication."""

SERVER_REGISTRIES = {
    "tokctl": "tokctl.api_tokens.registries.tokctl",
    "xivercms": "tokctl.api_tokens.registries.xivercms",
    "strapi": "tokctl.api_tokens.registries.strapi",
}
"""Kind of a server with API tokens → module. A server is of the first kind that recognizes its response."""

FALLBACK_REGISTRY = "xivercms"
"""The kind of a server that no kind recognizes: it needs no more than the documented API."""

FORMATS = {
    "table": "tokctl.render.formats.table",
    "wide": "tokctl.render.formats.table",
    "json": "tokctl.render.formats.json",
    "ndjson": "tokctl.render.formats.json",
    "yaml": "tokctl.render.formats.yaml",
    "csv": "tokctl.render.formats.csv",
    "id": "tokctl.render.formats.id",
}
"""Format → module with ``emit(result, out)``, imported when it is used."""

COLORS = ("auto", "always", "never")
"""When to use colours."""

COMMAND_FORMATS = {"junit": "debug", "mermaid": "flow", "sarif": "scan"}
"""Formats of some results only, which create them (``Listing.custom_formats``): format → command."""

EXPORT_FORMATS = {
    "chrome-trace": "tokctl.exports.chrome_trace",
    "otlp": "tokctl.exports.otlp",
    "xes": "tokctl.exports.xes",
    "mermaid": "tokctl.exports.mermaid",
    "csv": "tokctl.exports.event_log_csv",
}
"""Format of ``tokctl export`` → module with ``FORMAT``, imported when it is used."""

THEME_STYLES = {
    "failed": "bold red",
    "error": "red",
    "warning": "yellow",
    "ok": "green",
    "suspended": "magenta",
    "info": "cyan",
    "heading": "bold",
    "dim": "dim",
}
"""The styles that ``theme`` in the configuration can change: name → default style, as Rich writes it."""
