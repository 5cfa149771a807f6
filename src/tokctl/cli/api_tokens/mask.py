"""``tokctl api-tokens mask``."""

from __future__ import annotations

import sys
from io import BufferedIOBase
from typing import cast

from tokctl.api_tokens.masking import mask_secrets
from tokctl.cli.app import App, command

CHUNK_BYTES = 1 << 18


def mask(app: App) -> None:  # noqa: ARG001 - the same for every command
    """Copy stdin to stdout and mask every secret except for its first 8 characters.

    Masked are the secrets of API tokens (xvc_…, of any server) and JSON Web Tokens, in UTF-8 and UTF-16. The input can
    be binary, and its encoding is kept. Output is not buffered, so that you can use it with 'tail -f'.
    """
    stdin, stdout = cast("BufferedIOBase", sys.stdin.buffer), sys.stdout.buffer
    for piece in mask_secrets(iter(lambda: stdin.read1(CHUNK_BYTES), b"")):
        stdout.write(piece)
        stdout.flush()


app = command(
    mask,
    examples=(
        "kubectl logs deploy/shop -f | tokctl api-tokens mask",
        "tokctl api-tokens mask < debug.log > debug-to-send.log",
    ),
)
