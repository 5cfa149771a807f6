"""``tokctl api-tokens mask``."""

from __future__ import annotations

import sys
from io import BufferedIOBase
from typing import cast

from tokctl.access.masking import masked
from tokctl.cli.app import App, command

CHUNK = 1 << 18


def mask(app: App) -> None:  # noqa: ARG001 - every command has it
    """Pass stdin on to stdout with every secret masked: of each its first 8 characters stay.

    These are the secrets of API tokens, of any server whose begin with xvc_, and JSON Web Tokens. Bytes of any kind
    pass as they come, so that it can stand behind 'tail -f'.
    """
    stdin, stdout = cast("BufferedIOBase", sys.stdin.buffer), sys.stdout.buffer
    for piece in masked(iter(lambda: stdin.read1(CHUNK), b"")):
        stdout.write(piece)
        stdout.flush()


app = command(
    mask,
    examples=(
        "kubectl logs deploy/shop -f | tokctl api-tokens mask",
        "tokctl api-tokens mask < debug.log > debug-to-send.log",
    ),
)
