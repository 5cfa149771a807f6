"""YAML."""

from __future__ import annotations

import msgspec
import yaml

from tokctl.render.result import Detail, Output, Result, document_builder
from tokctl.render.text import DataStream

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def emit(result: Result, out: Output) -> None:
    """Write a document as YAML; embedded raw JSON becomes YAML too."""
    if isinstance(result, Detail):
        document = result.document
    else:
        items = [*map(document_builder(result, out), result.items)]
        document = {**result.head, result.key: items, **result.tail()}
    text = yaml.dump(
        msgspec.json.decode(msgspec.json.encode(document, enc_hook=list)),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=out.unicode,
        width=out.width if out.tty else 10_000,
    )
    DataStream(out).write(text)
