"""Whom a TLS connection trusts.

The platform's certificates are those that OpenSSL finds: the system's on Linux and the BSDs, and wherever
SSL_CERT_FILE or SSL_CERT_DIR says. Where a Python was built without a place for them (python.org's for
macOS, some portable builds), certifi's stand in, which come with httpx. The truststore package would ask
macOS's keychain as well, but on Linux it adds nothing to this but an import; a company's own authority
is named by ``--ca-file``.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from tokctl.errors import InputError, NotAllowedError, NotFoundError


def context(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Make the context of TLS connections; ``ca_file`` takes the place of the platform's certificates.

    Raises:
        NotFoundError, NotAllowedError, InputError: the file is not there, cannot be opened, holds no certificate.
    """
    if insecure:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    if ca_file is not None:
        return _of_file(ca_file)
    made = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    # A folder's certificates are counted only once they have been used, so an empty store alone says nothing.
    if not made.cert_store_stats()["x509_ca"] and not _holds_any(paths.capath):
        import certifi

        made.load_verify_locations(certifi.where())
    return made


def _holds_any(folder: str | None) -> bool:
    try:
        return folder is not None and any(Path(folder).iterdir())
    except OSError:
        return False


def _of_file(name: str) -> ssl.SSLContext:
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's raises where nobody knows the user
    hint = "Name a file of certificates in PEM form with --ca-file."
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no CA file {path}.", hint) from None
    except PermissionError:
        raise NotAllowedError(f"the CA file {path} may not be read.", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the CA file {path} cannot be read: {reason}.", hint) from None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError:  # as which ssl's errors come
        raise InputError(f"the CA file {path} holds no certificate, or a damaged one.", hint) from None
