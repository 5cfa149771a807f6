"""A pager for output that is longer than the terminal, as in git: ``TOKCTL_PAGER``, else ``PAGER``, else ``less``."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, TextIO, cast

from msgspec.structs import replace

from tokctl.render.formats.layout import width
from tokctl.render.result import Output

DEFAULT_PAGER = "less"
LESS_FLAGS = "FRX"  # quit if it fits on one screen, show colours, leave the text on the screen
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def choose_pager(environ: Mapping[str, str]) -> str:
    """Return the command of the pager; '' for no pager: the variable is empty or ``cat``."""
    for name in ("TOKCTL_PAGER", "PAGER"):
        if name in environ:
            return "" if environ[name].strip() in {"", "cat"} else environ[name]
    return DEFAULT_PAGER if shutil.which(DEFAULT_PAGER) else ""


@contextmanager
def open_paged(out: Output, *, wanted: bool) -> Iterator[Output]:
    """Yield an output; if a pager is ``wanted``, text that is longer than the terminal goes through it."""
    pager = choose_pager(os.environ) if wanted and out.tty and os.environ.get("TERM", "dumb") != "dumb" else ""
    if not pager:
        yield out
        return
    with page(out.stream, pager, os.environ) as stream:
        yield replace(out, stream=stream)


@contextmanager
def page(terminal: TextIO, command: str, environ: Mapping[str, str]) -> Iterator[TextIO]:
    """Yield a stream that replaces a terminal. Its text goes through the pager unless it fits on the screen.

    If the user quits the pager, the block ends early.
    """
    stream = PagedStream(terminal, command, environ)
    try:
        yield cast("TextIO", stream)
    except BrokenPipeError:
        if stream.pager is None:
            raise
    finally:
        stream.finish()


class PagedStream(io.TextIOBase):
    """Holds text back until there is more than a screenful of it; only then is the pager started."""

    def __init__(self, terminal: TextIO, command: str, environ: Mapping[str, str]) -> None:
        self.pager: subprocess.Popen[str] | None = None
        self._terminal = terminal
        self._command = command
        self._environ = environ
        self._held: list[str] = []
        self._target: IO[str] | None = None  # target of the text; None while it is held back
        size = shutil.get_terminal_size()
        self._columns, self._rows_left = size.columns, size.lines - 1  # the last line is the prompt's

    def write(self, text: str) -> int:
        """Write to the pager, or hold the text back."""
        if self._target is not None:
            return self._target.write(text)
        self._held.append(text)
        self._rows_left -= self._count_rows(text)
        if self._rows_left < 0:
            self._target = self._start_pager()
            self._release(self._target)
        return len(text)

    def finish(self) -> None:
        """Write what has been held back, or wait until the user quits the pager."""
        if self._target is None:
            self._target = self._terminal
            self._release(self._target)
        if self.pager is None or self.pager.stdin is None:
            return
        with suppress(BrokenPipeError):
            self.pager.stdin.close()
        while self.pager.returncode is None:
            with suppress(KeyboardInterrupt):  # the pager also receives it and handles it
                self.pager.wait()

    def _count_rows(self, text: str) -> int:
        lines = _STYLE.sub("", text).split("\n")
        return len(lines) - 1 + sum(max(width(line) - 1, 0) // self._columns for line in lines)

    def _start_pager(self) -> IO[str]:
        defaults = {"LESS": LESS_FLAGS, "LV": "-c"}
        if self._terminal.encoding.lower() == "utf-8":  # also with LC_ALL=C, where less would expect ASCII
            defaults["LESSCHARSET"] = "utf-8"
        try:
            self.pager = subprocess.Popen(  # noqa: S603 - the user's own choice
                shlex.split(self._command),
                stdin=subprocess.PIPE,
                env=defaults | dict(self._environ),
                text=True,
                encoding=self._terminal.encoding,
                errors="backslashreplace",
            )
        except (OSError, ValueError):  # the program does not exist
            return self._terminal
        return self.pager.stdin or self._terminal

    def _release(self, target: IO[str]) -> None:
        for text in self._held:
            target.write(text)
        self._held.clear()
