"""What messages advise: the options that they name exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tokctl as package
from support.commandline import clean_environment
from tokctl.cli.options import SHARED

TEXT = re.compile(r'"[^"\n]*"')
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
SOURCES = Path(package.__file__).parent


def test_options_that_the_client_names_are_those_of_commands():
    named = {
        option.replace("-", "_")
        for folder in ("client", "config")
        for file in (SOURCES / folder).glob("*.py")
        for text in TEXT.findall(file.read_text())
        if "tokctl " not in text  # a command line has options of its own
        for option in OPTION.findall(text)
    }
    assert "request_timeout" in named
    assert named <= SHARED.keys()


def test_a_user_without_a_home(tmp_path):
    """As in a container that runs as a user of a number that nobody has given a name."""
    as_nobody = ["unshare", "--user", "--map-user=54321"]
    try:
        subprocess.run([*as_nobody, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespaces here")
    environ = clean_environment()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        environ.pop(name, None)
    for words, code in ((["config", "view"], 0), (["doctor"], 0), (["tokens", "list"], 6)):
        ran = subprocess.run(
            [*as_nobody, sys.executable, "-m", "tokctl", *words],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        assert "internal error" not in ran.stdout + ran.stderr
    assert list(tmp_path.iterdir()) == []
