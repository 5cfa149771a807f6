"""``tokctl api-tokens mask``."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from select import select

from support.commandline import clean_environment
from tokctl.api_tokens.secrets import generate

MASK = [sys.executable, "-m", "tokctl", "api-tokens", "mask"]


def test_a_filter(tokctl):
    secret = generate()
    ran = tokctl("api-tokens", "mask", stdin=f"a {secret}\nb".encode())
    assert (ran.code, ran.out, ran.err) == (0, f"a {secret[:8]}...\nb", "")
    assert tokctl("keys", "mask").out == ""


def test_bytes_of_any_kind_pass_unchanged():
    data = bytes(range(256)) * 3000 + os.urandom(100_000).replace(b"xvc_", b"").replace(b"eyJ", b"")
    done = subprocess.run(MASK, input=data, capture_output=True, check=True, env=clean_environment())
    assert done.stdout == data


def test_what_comes_is_passed_on_while_more_is_to_come():
    secret = generate()
    environ = clean_environment()
    environ.pop("PYTHONUNBUFFERED", None)
    with subprocess.Popen(MASK, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, bufsize=0) as process:
        for said, shown in (
            (b"a line\n", b"a line\n"),
            (f"key {secret[:20]}".encode(), b"key " + secret[:8].encode() + b"..."),
            (f"{secret[20:]} end\n".encode(), b" end\n"),
        ):
            process.stdin.write(said)
            got = b""
            while len(got) < len(shown):
                assert select([process.stdout], [], [], 20)[0]
                got += process.stdout.read(1000)
            assert got == shown
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 0


def test_a_reader_that_goes_ends_it_quietly():
    with subprocess.Popen(
        MASK, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as process:
        process.stdout.close()
        _, said = process.communicate(b"a line\n" * 100_000)
        assert (process.returncode, said) == (141, b"")


def test_a_full_disk_is_told(shell):
    with Path("/dev/full").open("wb") as full:
        ran = shell("api-tokens", "mask", stdin=b"a line\n", stdout=full)
    assert ran.code == 74
    assert os.strerror(errno.ENOSPC) in ran.err
