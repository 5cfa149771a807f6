"""Environment variables with secrets of tokctl. Programs that tokctl runs do not inherit them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from tokctl.config.file import read_configuration
from tokctl.config.settings import API_KEY, STORE_CREDENTIAL, VARIABLES
from tokctl.errors import TokctlError

PEPPER = "TOKCTL_PEPPER"


def without_secrets(environ: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """Return an environment without the pepper and the credentials of the user, except those to keep."""
    withheld = {API_KEY, PEPPER, *_credential_variables(environ)} - {*keep}
    return {name: value for name, value in environ.items() if name not in withheld}


def _credential_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of variables that are set as the source of a credential: ``env:NAME``."""
    places = [environ.get(VARIABLES["credential"]), environ.get(STORE_CREDENTIAL)]
    with suppress(TokctlError):  # an invalid configuration is reported where it is used
        configuration = read_configuration(environ)
        for name in configuration.contexts:
            values = configuration.section_values(f"contexts.{name}")
            places += [values.get("credential"), values.get("registry_credential")]
    for place in places:
        kind, _, name = (place or "").partition(":")
        if kind.strip().lower() == "env":
            yield name.strip()
