# ruff: noqa: INP001
"""Write what is made from the program itself: man pages, completions, references and pictures.

``python -m tools.docs`` writes them into the repository, ``--into FOLDER`` elsewhere; ``--check`` names the files that
differ from what the program would write now, and exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tools import engines, man, reference, registries, screens, scripting

from tokctl.cli.completion_scripts import SCRIPTS

ROOT = Path(__file__).parent.parent
MADE = ("man/*", "completions/*", "docs/screens/*", "docs/commands.md", engines.PAGE, registries.PAGE, scripting.PAGE)


def write(folder: Path) -> None:
    """Write everything under a folder; what an earlier run left there and is no longer made goes."""
    made = {
        **{f"man/{name}": text for name, text in man.pages(ROOT)},
        **{f"completions/{name}": text for name, text in SCRIPTS.items()},
        **{f"docs/screens/{name}.svg": text for name, text in screens.pictures()},
        "docs/commands.md": reference.page(),
        engines.PAGE: engines.page(),
        registries.PAGE: registries.page(ROOT),
        scripting.PAGE: scripting.page(ROOT),
    }
    for name in files(folder) - made.keys():
        (folder / name).unlink()
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def files(folder: Path) -> set[str]:
    """Every file that is made, as it is named from the folder."""
    return {p.relative_to(folder).as_posix() for pattern in MADE for p in folder.glob(pattern)}


def stale(folder: Path) -> list[str]:
    """Compare the repository's files with those of a folder, and name those that differ."""
    return sorted(
        name
        for name in files(ROOT) | files(folder)
        if not all((where / name).is_file() for where in (ROOT, folder))
        or (ROOT / name).read_bytes() != (folder / name).read_bytes()
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write man pages, completions, reference and pictures.")
    parser.add_argument("--check", action="store_true", help="only name the files that are out of date")
    parser.add_argument("--into", type=Path, default=ROOT, help="write under this folder")
    options = parser.parse_args()
    if not options.check:
        write(options.into)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        names = stale(Path(folder))
    for name in names:
        sys.stdout.write(f"{name} is out of date: run 'make docs'.\n")
    return bool(names)


if __name__ == "__main__":
    sys.exit(main())
