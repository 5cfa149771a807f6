"""Style sheets and scripts of pages, and the hashes by which a Content-Security-Policy allows them.

See https://www.w3.org/TR/CSP3/.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from importlib.resources import files


def read_asset(package: str, name: str) -> str:
    """Return a file in the templates of a package."""
    return files(package).joinpath("templates", name).read_text(encoding="utf-8")


def hash_source(code: str) -> str:
    """Return the source of a policy that allows exactly this code."""
    return f"'sha256-{b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
