"""Where the program starts, and the one place that turns errors into a line and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tokctl import __version__
from tokctl.errors import TokctlError

INTERRUPTED = 130
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}


def main() -> None:
    """Run the command line of this process."""
    gc.set_threshold(50_000, 20, 100)  # a start makes fewer objects than that: nothing to collect
    _open_streams()
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - a user whom nobody knows, as in a container
        os.environ["HOME"] = "/"
    arguments = sys.argv[1:]
    held: list[object] = []
    try:
        if arguments == ["--version"]:  # asked by scripts, often: nothing else need be imported
            sys.stdout.write(f"tokctl {__version__}\n")
            code = 0
        else:
            code = run(arguments, held=held)
        sys.stdout.flush()
    except BrokenPipeError:
        code = _hung_up()
    except OSError as error:
        code = _cannot_write(error)
    except KeyboardInterrupt:
        code = _interrupted()
    sys.stderr.flush()
    os._exit(code)  # everything is closed and written; taking apart what is held, and the interpreter, takes a while


def _open_streams() -> None:
    """Put something in the place of closed streams, and let no character stop the output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - for as long as the process runs
        elif name == "stdout":
            stream.reconfigure(errors="backslashreplace")


def _now() -> datetime:
    return datetime.now(UTC)


def run(arguments: Sequence[str], *, clock: Callable[[], datetime] = _now, held: list[object] | None = None) -> int:
    """Run a command line; returns its exit code. Errors become one line on stderr.

    What it works with is put into ``held``, if there is one, and so outlives the run.
    """
    from tokctl.cli.app import ClickException, Invocation, NoArgsIsHelpError, one_line
    from tokctl.cli.groups import root

    if "_TOKCTL_COMPLETE" in os.environ:
        from tokctl.cli.shells import register

        register()
    invocation = Invocation(clock)
    if held is not None:
        held.append(invocation)
    try:
        code = root().main(args=list(arguments), prog_name="tokctl", standalone_mode=False, obj=invocation)
        if code == INTERRUPTED:
            return _interrupted()
        return code if isinstance(code, int) else 0
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # Typer's answer to one
            return _hung_up()
        raise
    except NoArgsIsHelpError as error:
        return error.exit_code
    except (TokctlError, ClickException) as error:
        if invocation.debug_traceback(arguments):
            raise
        sys.stderr.write(f"tokctl: {one_line(error)}\n")
        return error.exit_code
    except Exception as error:
        if invocation.debug_traceback(arguments):
            raise
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
            return _cannot_write(error)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"tokctl: a fault in tokctl itself: {text}. Run it again with --debug-traceback "
                         "and report what it prints.\n")  # fmt: skip
        return 70
    finally:
        invocation.close()


def _interrupted() -> int:
    sys.stderr.write("tokctl: interrupted.\n")
    return INTERRUPTED


def _hung_up() -> int:
    """The reader of our output has gone: nothing is wrong, and nobody is left to tell."""
    _drop_output()
    return 141


def _cannot_write(error: OSError) -> int:
    _drop_output()
    sys.stderr.write(f"tokctl: the output cannot be written: {error.strerror}. Make room, or write elsewhere.\n")
    return 74


def _drop_output() -> None:
    """Let what is still to be written go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
