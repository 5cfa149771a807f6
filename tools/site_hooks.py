# ruff: noqa: INP001
"""Hooks of MkDocs: the site also has the repository's own pages, and links work there as they do in the repository."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
REPOSITORY_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages at the top of the repository, next to those of docs/."""
    for name in REPOSITORY_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn links between docs/ and the top of the repository into links between neighbours."""
    for name in REPOSITORY_PAGES:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return markdown.replace("](docs/", "](")
