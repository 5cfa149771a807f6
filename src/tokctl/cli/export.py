"""``tokctl export``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

from tokctl.analysis.redaction import Redactor
from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.completion import complete_export_format
from tokctl.cli.output_files import check_overwrites_no_source, open_target
from tokctl.cli.progress import progress, report_unread
from tokctl.cli.selection import select_ids
from tokctl.errors import UsageError
from tokctl.kinds import EXPORT_FORMATS
from tokctl.render.text import count, escape_control_lines, escape_json_controls
from tokctl.services.export import InstanceReading
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.exports.export_format import ExportFormat, InstanceExport

_EXIT_INCOMPLETE = 5


def export(
    app: App,
    instances: opt.Instances = None,
    form: Annotated[
        str | None,
        opt.option("FORMAT", f"One of {', '.join(EXPORT_FORMATS)}.", "-f --format", complete=complete_export_format),
    ] = None,
    out: Annotated[
        str | None, opt.path("FILE", "File to write (default: stdout). It is compressed if the name ends in .gz.")
    ] = None,
    endpoint: Annotated[
        str | None,
        opt.option(
            "URL",
            "Send the spans to this collector (OTLP over HTTP) instead. The path is /v1/traces unless the URL has one.",
        ),
    ] = None,
    endpoint_credential: Annotated[
        str | None,
        opt.option(
            "PLACE",
            "Where the credential for the endpoint is: keyring, env:NAME, file:PATH, env-file:PATH#NAME or "
            "command:'WORDS' (default: none is sent).",
        ),
    ] = None,
    redact: Annotated[
        list[str] | None,
        opt.option(
            "PATTERN",
            "Remove the values at these paths, such as execution_context.* or business_key (repeatable).",
        ),
    ] = None,
    process: opt.Processes = None,
    since: opt.ChangedSince = None,
    until: opt.StartedBefore = None,
    troubled: opt.Troubled = False,
) -> int:
    """Export instances for other tools: trace viewers, tracing systems, process mining, charts, spreadsheets.

    chrome-trace opens in Perfetto and in the browser's tracing page. otlp is OpenTelemetry's JSON, a trace for each
    instance and a span for each token; --endpoint sends it to a collector. xes is an event log for process mining
    (IEEE 1849-2016). mermaid is the flowchart of 'tokctl flow -o mermaid', of one instance. csv is an event log with
    one row for each token.

    Variables are not exported. What is derived, ambiguous or unknown is marked as such. Exit code 5: some instances
    could not be read, or the collector rejected spans.
    """
    chosen = _load_format(form)
    _check_target(app, form, out, endpoint, endpoint_credential)
    redaction = Redactor(redact or ())
    ids = select_ids(app, instances, process, since, until, troubled=troubled)
    if chosen.is_single and len(ids) > 1:
        raise UsageError(f"{form} is for one instance, and {len(ids):,} match.", "Give one INSTANCE.")
    app.stop_progress()
    quiet = endpoint is None and out is None and sys.stdout.isatty()
    with nullcontext(lambda _: None) if quiet else progress("Exporting", len(ids)) as step:
        remote = app.settings.kind == "server" and app.settings.at is None
        reading = InstanceReading(app.engine, ids, redaction, app.clock, remote=remote, step=step)
        omitted = _Omitted(chosen)
        pieces = chosen.write(omitted.count_in(reading), app.now)
        is_complete = True
        if endpoint is None:
            _write(pieces, out, _escape(app, chosen, out))
        else:
            is_complete = _send(app, pieces, endpoint, endpoint_credential)
    if omitted.tokens:
        app.notify(f"Left out {count(omitted.tokens, 'token')} without a time: {form} needs one.")
    for pattern in redaction.patterns:
        if not redaction.match_counts[pattern]:
            app.notify(f"--redact '{pattern}' matches nothing.")
    return report_unread(app, reading) or (0 if is_complete else _EXIT_INCOMPLETE)


def _load_format(form: str | None) -> ExportFormat:
    if form is None or form not in EXPORT_FORMATS:
        problem = "no --format given" if form is None else f"invalid --format '{form}'{suggest(form, EXPORT_FORMATS)}"
        raise UsageError(f"{problem}.", f"Valid: {', '.join(EXPORT_FORMATS)}.")
    loaded: ExportFormat = import_module(EXPORT_FORMATS[form]).FORMAT
    return loaded


def _check_target(
    app: App, form: str | None, out: str | None, endpoint: str | None, endpoint_credential: str | None
) -> None:
    """Raise UsageError if the target is invalid, or would overwrite the source."""
    if endpoint is None and endpoint_credential is not None:
        raise UsageError("--endpoint-credential needs --endpoint.", "Add --endpoint, or remove it.")
    if endpoint is not None and form != "otlp":
        raise UsageError("--endpoint needs --format otlp.", "Use --format otlp, or remove --endpoint.")
    if endpoint is not None and out is not None:
        raise UsageError("--endpoint and --out cannot be used together.", "Use only one of them.")
    if out == "":
        raise UsageError("--out is empty.", "Give a path, or remove it to write to stdout.")
    if out is not None:
        check_overwrites_no_source(out, app.settings)


class _Omitted:
    """Counts the tokens that a format leaves out while they pass."""

    def __init__(self, chosen: ExportFormat) -> None:
        self._chosen = chosen
        self.tokens = 0

    def count_in(self, reading: InstanceReading) -> Iterator[InstanceExport]:
        """Yield the instances as they are exported."""
        from tokctl.exports.export_format import prepare

        for instance in map(prepare, reading):
            self.tokens += sum(map(self._chosen.omits, instance.tokens))
            yield instance


def _escape(app: App, chosen: ExportFormat, out: str | None) -> Callable[[str], str]:
    """Return what makes text safe for where it is written: a terminal must not be controlled."""
    if out is not None or not app.out.tty:
        return str
    return escape_json_controls if chosen.is_json else escape_control_lines


def _write(pieces: Iterable[str], out: str | None, escape: Callable[[str], str]) -> None:
    with open_target(out) as stream:
        for piece in pieces:
            stream.write(escape(piece).encode())


def _send(app: App, pieces: Iterable[str], endpoint: str, credential: str | None) -> bool:
    """Send spans to a collector; return whether it has accepted all of them."""
    from tokctl.services.span_delivery import open_collector, send_spans

    with open_collector(endpoint, app.settings, credential) as client:
        delivery = send_spans(client, pieces)
    told = f": {' '.join(delivery.messages)}" if delivery.messages else "."
    if delivery.rejected:
        app.warn(f"The collector rejected {count(delivery.rejected, 'span')}{told}")
    elif delivery.messages:
        app.warn(f"The collector warns{told}")
    return not delivery.rejected


app = command(
    export,
    shared_options=(*opt.ENGINE, *opt.AT),
    panel=INSPECT_PANEL,
    examples=(
        "tokctl export @latest --format chrome-trace --out trace.json",
        "tokctl export --process 'order-*' --since 7d --format xes --out orders.xes.gz",
        "tokctl export --troubled --format otlp --endpoint http://collector.example:4318",
        "tokctl export @latest --format csv --redact 'execution_context.*'",
    ),
)
