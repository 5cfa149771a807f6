"""``env:NAME``: a secret in an environment variable. It can be read, and nothing else."""

from __future__ import annotations

import os

from tokctl.errors import NotAllowedError
from tokctl.vaults.base import NAMED, first_line


class Variable:
    """Implements ``vaults.base.Vault``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.where = f"the environment variable {name}"

    def read(self) -> str:
        """The variable's value."""
        value = os.environb.get(os.fsencode(self.name))
        if not value:
            raise NotAllowedError(f"{self.where}, which should hold the credential, is not set.", NAMED)
        return first_line(value, self.where)


def open_vault(place: str, account: str) -> Variable:  # noqa: ARG001 - every kind has it
    """The variable of that name."""
    return Variable(place)
