"""Asks the terminal what pictures it can show, and how large a cell is. Only its answers count.

All questions are sent at once. The last one (primary device attributes) is one that every terminal answers, so that
what has not been answered before is not supported. Sources: the documentation of kitty's graphics protocol, of iTerm2's
feature reporting, and xterm's control sequences.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from tokctl.cli.screen import exit_on_signals
from tokctl.errors import UsageError

ANSWER_SECONDS = 1.5
"""Time limit for all answers: a slow connection takes some hundred milliseconds."""
MAX_ANSWER_BYTES = 65_536
_KITTY_ID = 31
QUESTIONS = (
    b"\x1b_Gi=%d,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\" % _KITTY_ID  # kitty: could you show this picture of one pixel?
    + b"\x1b]1337;Capabilities\x1b\\"  # iTerm2: its features
    + b"\x1b[>q"  # name and version
    + b"\x1b[16t"  # size of a cell
    + b"\x1b[c"  # primary device attributes
)
_ANSWER = re.compile(
    rb"\x1b_G(?P<kitty>[^\x1b]*)\x1b\\"
    rb"|\x1b\]1337;Capabilities=(?P<features>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    rb"|\x1bP>\|(?P<name>[^\x1b]*)\x1b\\"
    rb"|\x1b\[6;(?P<height>\d{1,4});(?P<width>\d{1,4})t"
    rb"|\x1b\[\?(?P<attributes>[\d;]*)c"
)
_SEQUENCES = re.compile(rb"\x1b[P\]_].*?(?:\x07|\x1b\\|$)|\x1b\[[?>][\d;]*[A-Za-z]|\x1b\[\d+;\d+;\d+t", re.DOTALL)
"""What terminals send and keys do not."""
_ITERM2_FEATURE = re.compile(rb"[A-Z][a-z]*")
_ITERM2_PICTURES = b"F"
_ITERM2_NAMES = (b"iTerm2 ", b"WezTerm ")
_SIXEL = b"4"
CELL = 10, 20
"""Pixels of a cell if the terminal does not say."""


class TerminalAnswers(Struct, kw_only=True):
    """What a terminal answered: the protocols that it supports, and the size of a cell in pixels.

    ``complete``: it has answered the last question. ``lost_keys`` are those that were pressed meanwhile and that the
    system did not allow to put back.
    """

    kitty: bool = False
    iterm2: bool = False
    sixel: bool = False
    cell: tuple[int, int] = CELL
    complete: bool = False
    lost_keys: int = 0


def ask_terminal(seconds: float = ANSWER_SECONDS) -> TerminalAnswers:
    """Ask the terminal of this process. Keys that are pressed meanwhile are put back, if the system allows that.

    Raises:
        UsageError: there is no terminal, or keys that were pressed before are still to be read.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise UsageError("--image needs a terminal.", "Use --out FILE.") from None
    try:
        with exit_on_signals(), _without_echo(terminal):
            if select.select([terminal], [], [], 0)[0]:
                raise UsageError("cannot ask the terminal: there is input that no program has read.", "Try again.")
            answers, keys = _read_answers(terminal, seconds)
            os.write(terminal, b"\r\x1b[K")  # a terminal that does not know a question may have written it
            answers.lost_keys = _return_keys(terminal, keys)
            if answers.cell == CELL:
                answers.cell = _find_cell_size(terminal)
        return answers
    finally:
        os.close(terminal)


@contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    modes = termios.tcgetattr(terminal)
    silent = [*modes]
    silent[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(terminal, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, modes)


def _read_answers(terminal: int, seconds: float) -> tuple[TerminalAnswers, bytes]:
    """Return the answers, and the keys that were read."""
    os.write(terminal, QUESTIONS)
    end = time.monotonic() + seconds
    read = b""
    answers = TerminalAnswers()
    while not answers.complete and len(read) < MAX_ANSWER_BYTES and (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            data = os.read(terminal, 4096)
            if not data:
                break
            read += data
            answers = parse_answers(read)
    return answers, _SEQUENCES.sub(b"", read)


def parse_answers(read: bytes) -> TerminalAnswers:
    """Return what a terminal answered. Everything else is ignored."""
    answers = TerminalAnswers()
    for match in _ANSWER.finditer(read):
        found = {name: value for name, value in match.groupdict().items() if value is not None}
        if "kitty" in found:
            answers.kitty |= found["kitty"].startswith(b"i=%d" % _KITTY_ID) and found["kitty"].endswith(b";OK")
        elif "features" in found:
            answers.iterm2 |= _ITERM2_PICTURES in _ITERM2_FEATURE.findall(found["features"])
        elif "name" in found:
            answers.iterm2 |= found["name"].startswith(_ITERM2_NAMES)
        elif "width" in found:
            width, height = int(found["width"]), int(found["height"])
            answers.cell = (width, height) if width and height else CELL
        else:
            answers.sixel = _SIXEL in found["attributes"].split(b";")[1:]
            answers.complete = True
    return answers


def _return_keys(terminal: int, keys: bytes) -> int:
    """Put pressed keys back into the terminal's queue; return the number of those that could not be."""
    for n, key in enumerate(keys):
        try:
            fcntl.ioctl(terminal, termios.TIOCSTI, bytes([key]))
        except OSError:  # Linux has allowed it by default until 6.1
            return len(keys) - n
    return 0


def _find_cell_size(terminal: int) -> tuple[int, int]:
    """Return the size of a cell that the system knows, in pixels."""
    size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8)
    rows, columns, width, height = struct.unpack("HHHH", size)
    return (width // columns, height // rows) if rows and columns and width >= columns and height >= rows else CELL
