"""The entry point of the program: runs a command line and turns exceptions into one line and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys

from tokctl.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tokctl.cli.app import Invocation

INTERRUPTED = 130
_OUTPUT_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF}


def main() -> None:
    """Run the command line of this process."""
    gc.set_threshold(50_000, 20, 100)  # starting up creates fewer objects: there is nothing to collect
    if any(argument.partition("=")[0] == "--file" for argument in sys.argv):
        gc.disable()  # the tokens of a file stay in memory until the end, and have no cycles
    _open_streams()
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - a user without an entry, as in a container
        os.environ["HOME"] = "/"
    arguments = sys.argv[1:]
    keep_alive: list[object] = []
    try:
        if arguments in (["--version"], ["-V"]):  # scripts ask often, and nothing else has to be imported
            sys.stdout.write(f"tokctl {__version__}\n")
            code = 0
        else:
            code = run(arguments, keep_alive=keep_alive)
        sys.stdout.flush()
    except BrokenPipeError:
        code = _handle_broken_pipe()
    except OSError as error:
        code = _report_output_error(error)
    except KeyboardInterrupt:
        code = _report_interrupt()
    sys.stderr.flush()
    os._exit(code)  # everything is closed and written; freeing the objects and the interpreter would take a while


def _open_streams() -> None:
    """Replace closed standard streams by the null device, and let stdout escape characters it cannot encode.

    A closed stdout is opened for reading only, so that output is an error, and cannot end up in a file that gets its
    number.
    """
    for name, mode, access in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, access), mode))
        elif name == "stdout":
            stream.reconfigure(errors="backslashreplace")


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def run(
    arguments: Sequence[str], *, clock: Callable[[], datetime] = _now, keep_alive: list[object] | None = None
) -> int:
    """Run a command line (without the program's name) and return its exit code. Errors become one line on stderr.

    ``keep_alive`` gets the objects of the run, if given, so that they are not freed at its end.
    """
    from click.exceptions import ClickException, NoArgsIsHelpError

    from tokctl.cli.app import Invocation, format_error
    from tokctl.cli.command_tree import root_command
    from tokctl.errors import TokctlError

    invocation = Invocation(clock)
    if keep_alive is not None:
        keep_alive.append(invocation)
    try:
        if "_TOKCTL_COMPLETE" in os.environ:
            from tokctl.cli.shell_completion import INSTRUCTION, answer

            return answer(root_command(), invocation, os.environ[INSTRUCTION])
        code = root_command().main(args=list(arguments), prog_name="tokctl", standalone_mode=False, obj=invocation)
        if code == INTERRUPTED:
            return _report_interrupt()
        return code if isinstance(code, int) else 0
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # how Typer handles it
            return _handle_broken_pipe()
        raise
    except NoArgsIsHelpError as error:
        return error.exit_code
    except (TokctlError, ClickException) as error:
        if invocation.debug_traceback(arguments):
            raise
        sys.stderr.write(f"error: {format_error(error)}\n")
        return error.exit_code
    except Exception as error:
        if invocation.debug_traceback(arguments):
            raise
        return _report_unexpected_error(error, invocation)
    finally:
        invocation.close()


def _report_unexpected_error(error: Exception, invocation: Invocation) -> int:
    """Report an error of the output, a damaged store, or a bug."""
    from tokctl.cli.app import format_error

    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRNOS:
        return _report_output_error(error)
    if damage := invocation.find_damage():
        sys.stderr.write(f"error: {format_error(damage)}\n")
        return damage.exit_code
    text = " ".join(f"{type(error).__name__}: {error}".split())
    sys.stderr.write(
        f"tokctl: internal error: {text}. Run the command again with --debug-traceback and report the output.\n"
    )
    return 70


def _report_interrupt() -> int:
    sys.stderr.write("tokctl: interrupted.\n")
    return INTERRUPTED


def _handle_broken_pipe() -> int:
    """Return the exit code for a reader that has closed the output; this is not an error, and nothing is printed."""
    _drop_output()
    return 141


def _report_output_error(error: OSError) -> int:
    _drop_output()
    if error.errno == errno.EBADF:
        sys.stderr.write("error: cannot write the output: stdout is closed. Redirect it to a file or to /dev/null.\n")
    else:
        sys.stderr.write(f"error: cannot write the output: {error.strerror}. Free some space or use another place.\n")
    return 74


def _drop_output() -> None:
    """Discard output that is not written yet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
