"""Where the program starts, and the one place that turns errors into a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tokctl import __version__
from tokctl.errors import TokctlError


def main() -> None:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:  # asked by scripts, often: nothing else need be imported
        sys.stdout.write(f"tokctl {__version__}\n")
        return
    code = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _hung_up()
    sys.exit(code)


def _now() -> datetime:
    return datetime.now(UTC)


def run(arguments: Sequence[str], *, clock: Callable[[], datetime] = _now) -> int:
    """Run a command line; returns its exit code. Errors become one line on stderr."""
    from tokctl.cli.app import ClickException, Invocation, one_line
    from tokctl.cli.groups import root

    if "_TOKCTL_COMPLETE" in os.environ:
        from tokctl.cli.shells import register

        register()
    invocation = Invocation(clock)
    try:
        code = root().main(args=list(arguments), prog_name="tokctl", standalone_mode=False, obj=invocation)
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        return _hung_up()
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("tokctl: interrupted.\n")
        return 130
    except (TokctlError, ClickException) as error:
        if invocation.debug_traceback(arguments):
            raise
        sys.stderr.write(f"tokctl: {one_line(error)}\n")
        return error.exit_code
    except Exception as error:
        if invocation.debug_traceback(arguments):
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"tokctl: a fault in tokctl itself: {text}. Run it again with --debug-traceback "
                         "and report what it prints.\n")  # fmt: skip
        return 70
    finally:
        invocation.close()


def _hung_up() -> int:
    """The reader of our output has gone: nothing is wrong, and nobody is left to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


if __name__ == "__main__":
    main()
