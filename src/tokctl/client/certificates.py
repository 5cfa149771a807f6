"""Which certificates are trusted, and the SSL context for a server.

The first of these that is set counts: ``--ca-file``, ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, and ``SSL_CERT_FILE``
with ``SSL_CERT_DIR``. Without them the platform's certificates are trusted, those that OpenSSL finds: the system's on
Linux and the BSDs. If this Python was built without a path for them (python.org's for macOS, some portable builds),
certifi's are used, which httpx depends on. The package truststore would also read the keychain of macOS, but on Linux
it would only add an import; ``--ca-file`` names the certificates of a private authority.

As OpenSSL does, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` each replace one of the platform's two places; but a place that
cannot be read is an error, not ignored.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import NamedTuple

from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, NotFoundError

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of other programs that name a file, or a directory, with the certificates to trust."""


class TrustedPlace(NamedTuple):
    """A file with certificates, or directories as OpenSSL reads them; ``variable`` names it, '' for ``--ca-file``."""

    path: str
    variable: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.variable or '--ca-file'})"

    @property
    def advice(self) -> str:
        """What to do if it cannot be used."""
        if not self.variable:
            return "Give a file with PEM certificates with --ca-file."
        what = "directories with" if self.variable == "SSL_CERT_DIR" else "a file with PEM"
        return f"Set {self.variable} to {what} certificates, or unset it."


def trusted_places(ca_file: str | None) -> list[TrustedPlace]:
    """Return the places of the certificates to trust that are set; none of them for the platform's."""
    if ca_file is not None:
        return [TrustedPlace(ca_file)]
    for variable in BUNDLE_VARIABLES:
        if path := os.environ.get(variable):
            return [TrustedPlace(path, variable)]
    return [TrustedPlace(path, name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (path := os.environ.get(name))]


def describe_trust(ca_file: str | None) -> str:
    """Return which certificates are trusted, for messages."""
    return ", ".join(map(str, trusted_places(ca_file))) or "those of this platform"


def create_ssl_context(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Return the SSL context for a server that trusts the certificates in ``trusted_places``.

    Raises NotFoundError, NotAllowedError, InputError: one of them cannot be used.
    """
    if insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    places = {place.variable: place for place in trusted_places(ca_file)}
    folders = places.pop("SSL_CERT_DIR", None)
    if folders is not None:
        _check_folders(folders)
    for place in places.values():
        if place.variable in BUNDLE_VARIABLES and Path(place.path).is_dir():
            return ssl.create_default_context(capath=place.path)
        context = _context_from_file(place)
        if place.variable == "SSL_CERT_FILE":
            context.load_verify_locations(
                capath=folders.path if folders else ssl.get_default_verify_paths().openssl_capath
            )
        return context
    context = ssl.create_default_context()
    # Certificates in a directory are loaded when they are used, so an empty store does not mean that there are none.
    if not (folders or context.cert_store_stats()["x509_ca"] or _has_files(ssl.get_default_verify_paths().capath)):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _has_files(folder: str | None) -> bool:
    try:
        return folder is not None and any(Path(folder).iterdir())
    except OSError:
        return False


def _check_folders(place: TrustedPlace) -> None:
    """Raise NotFoundError if there is none of the directories in SSL_CERT_DIR."""
    if not any(Path(folder).is_dir() for folder in place.path.split(os.pathsep)):
        raise NotFoundError(f"the directory of certificates {place} does not exist.", place.advice)


def _context_from_file(place: TrustedPlace) -> ssl.SSLContext:
    path, hint = expand_user(place.path), place.advice
    named = f"the CA file {path}" + (f" ({place.variable})" if place.variable else "")
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise NotFoundError(f"{named} does not exist.", hint) from None
    except PermissionError:
        raise NotAllowedError(f"cannot read {named}: permission denied.", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {named}: {reason}.", hint) from None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError:  # includes ssl.SSLError
        raise InputError(f"{named} contains no valid certificate.", hint) from None
