"""Sockets and certificates. They are opened first, so that an error in them is reported once, in one line."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.server.settings import ServeSettings

BACKLOG = 2048
UNIX_MODE = 0o660


class _EncryptedKeyError(Exception):
    """The private key is encrypted."""


def listen(settings: ServeSettings) -> socket.socket:
    """Return a listening socket.

    Raises:
        UsageError: the address is in use, or not an address of this machine.
        NotAllowedError: the port is privileged.
    """
    return _listen_unix(Path(settings.unix)) if settings.unix is not None else _listen_tcp(settings)


def _listen_tcp(settings: ServeSettings) -> socket.socket:
    where = f"{settings.host}, port {settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"--host {settings.host} is not an address of this machine.") from None
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"another process already listens on {where}.", "Use another --port.") from None
        if error.errno == errno.EACCES:
            raise NotAllowedError(
                f"cannot listen on {where}: permission denied.", "Use a --port of 1024 or more."
            ) from None
        raise UsageError(f"cannot listen on {where}: {error.strerror}.") from None
    sock.setblocking(False)
    return sock


def _listen_unix(path: Path) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("--unix is not supported on this platform.", "Use --host and --port.")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~UNIX_MODE)  # never open to others, not even between bind and chmod
    try:
        sock.bind(str(path))
        path.chmod(UNIX_MODE)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = "the path is too long" if "too long" in str(error) else error.strerror
        raise UsageError(f"cannot listen on {path}: {reason}.", "Use another --unix.") from None
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket of a stopped server. Raises UsageError for anything else."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} already exists and is not a socket.", "Use another --unix.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                path.unlink()
            return
        except OSError:
            pass
    raise UsageError(f"another process already listens on {path}.", "Use another --unix.")


def read_socket_inode(settings: ServeSettings) -> int:
    """Return the inode of the socket's file, to detect that another file has replaced it."""
    return Path(settings.unix).lstat().st_ino if settings.unix is not None else 0


def remove_socket(settings: ServeSettings, inode: int) -> None:
    """Remove the socket's file, unless another file has replaced it."""
    if settings.unix is not None:
        with suppress(OSError):
            if read_socket_inode(settings) == inode:
                Path(settings.unix).unlink()


def format_address(settings: ServeSettings, sock: socket.socket) -> str:
    """Return the URL of the server."""
    if settings.unix is not None:
        return f"unix:{settings.unix}"
    host, port = sock.getsockname()[:2]
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def create_tls_context(settings: ServeSettings) -> ssl.SSLContext | None:
    """Return the TLS context of the certificate and the key in the settings; None without them.

    Raises:
        NotFoundError, NotAllowedError, InputError: a file does not exist, may not be read, or has no valid content.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return None
    for name, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            Path(path).open("rb").close()
        except FileNotFoundError:
            raise NotFoundError(f"{name}: {path} does not exist.") from None
        except PermissionError:
            raise NotAllowedError(f"cannot read {path}: permission denied.", "Check the file's permissions.") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}.") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedKeyError:
        raise InputError(
            f"the private key {key} is encrypted.",
            "Use a key without a password, in a file that only the server can read.",
        ) from None
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise InputError(f"the private key {key} does not belong to the certificate {cert}.") from None
        raise InputError(f"{cert} and {key} are not a certificate and a private key in PEM.") from None
    return context


def _no_password() -> str:
    raise _EncryptedKeyError
