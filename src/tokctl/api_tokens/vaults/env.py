"""``env:NAME``: a secret in an environment variable, which can only be read."""

from __future__ import annotations

import os

from tokctl.api_tokens.vaults.protocol import ORIGIN_HINT, parse_secret_line
from tokctl.errors import NotAllowedError


class EnvironmentVariable:
    """An environment variable. Implements ``protocol.SecretSource``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.where = f"the environment variable {name}"

    def read(self) -> str:
        """Return the value of the variable."""
        value = os.environb.get(os.fsencode(self.name))
        if not value:
            raise NotAllowedError(f"cannot read the credential: {self.where} is not set.", ORIGIN_HINT)
        return parse_secret_line(value, self.where)


def open_source(place: str, account: str) -> EnvironmentVariable:  # noqa: ARG001 - the same for every kind
    """Open the variable with this name."""
    return EnvironmentVariable(place)
