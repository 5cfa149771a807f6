"""YAML."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from msgspec import Raw

from tokctl.model.json_values import decode_value
from tokctl.render.result import Detail, Output, Result, document_builder
from tokctl.render.text import DataStream


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # only in PyYAML with libyaml
    """Also writes numbers that Python cannot represent, digit by digit."""


def _represent_number(dumper: Any, number: Raw) -> yaml.ScalarNode:
    text = bytes(number).decode()
    if text.lstrip("-").isdigit():
        return dumper.represent_scalar("tag:yaml.org,2002:int", text)  # type: ignore[no-any-return]
    mantissa, _, exponent = text.lower().partition("e")
    if exponent:  # YAML 1.1 requires a point and a sign
        point, sign = "" if "." in mantissa else ".0", "" if exponent[0] in "+-" else "+"
        text = f"{mantissa}{point}e{sign}{exponent}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)  # type: ignore[no-any-return]


_Dumper.add_representer(Raw, _represent_number)


def emit(result: Result, out: Output) -> None:
    """Write a document as YAML; embedded raw JSON becomes YAML too."""
    if isinstance(result, Detail):
        document = result.document
    else:
        items = [*map(document_builder(result, out), result.items)]
        document = {**result.head, result.key: items, **result.tail()}
    text = yaml.dump(
        decode_value(msgspec.json.encode(document, enc_hook=list)),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=out.unicode,
        width=out.width if out.tty else 10_000,
    )
    DataStream(out).write(text)
