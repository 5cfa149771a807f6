"""A log with secrets in it, through ``tokctl api-tokens mask``, and through sed, which knows one kind of them."""

from __future__ import annotations

import random
import string
import subprocess
from hashlib import sha256
from pathlib import Path

from measure import TOKCTL, Line, Side

BLOCK = 10_000  # lines, written again and again
MASK = [*TOKCTL, "api-tokens", "mask"]
SED = ["/usr/bin/env", "LC_ALL=C", "sed", "-E", r"s/(xvc_[0-9A-Za-z]{4})[0-9A-Za-z]{12,}/\1.../g"]


def prepare(path: Path, octets: int, every: int) -> Path:
    """Write a log of at least so many bytes, with a secret in every so many of its lines."""
    chance = random.Random(1)
    lines = []
    for number in range(BLOCK):
        secret = "xvc_" + "".join(chance.choices(string.ascii_letters + string.digits, k=40))
        who = f" authorization=Bearer {secret}" if number % every == 0 else ""
        instance = f"{chance.getrandbits(60):015x}"
        lines.append(
            f"2025-01-11T10:{number // 60 % 60:02d}:{number % 60:02d}.123Z INFO request method=GET status=200 "
            f"path=/api/v1/processes/srv1-{instance}/tokens{who} duration_ms={number % 97}\n"
        )
    block = "".join(lines).encode()
    with path.open("wb") as stream:
        for _ in range(-(-octets // len(block))):
            stream.write(block)
    return path


def lines(path: Path, rounds: int, every: int) -> list[Line]:
    """What to measure. Ends the run where the two do not agree."""
    digests = set()
    for command in (MASK, SED):
        with path.open("rb") as stream:
            head = stream.read(10_000_000)
        digests.add(sha256(subprocess.run(command, input=head, check=True, capture_output=True).stdout).digest())
    if len(digests) > 1:
        raise SystemExit("tokctl and sed do not mask the same.")
    size = path.stat().st_size / 1e6
    title = f"`api-tokens mask`, {size:,.0f} MB, a secret in every {every:,} lines"
    return [Line(title, "100 MB/s", Side(MASK, stdin=str(path)), Side(SED, stdin=str(path)), "`sed -E`", rounds)]
