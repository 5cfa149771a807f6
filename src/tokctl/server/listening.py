"""Sockets and certificates: made before anything else, so that what is wrong with them is one line."""

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


class _Locked(Exception):  # noqa: N818 - it is the state of a file
    """The private key is encrypted."""


def listen(settings: ServeSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        UsageError: the address is taken, or none of this machine's.
        NotAllowedError: it may not be used.
    """
    return _listen_unix(Path(settings.unix)) if settings.unix is not None else _listen_tcp(settings)


def _listen_tcp(settings: ServeSettings) -> socket.socket:
    where = f"{settings.host}, port {settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"--host {settings.host} is no address of this machine.") from None
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
            raise UsageError(f"another program listens at {where} already.", "Give another --port.") from None
        if error.errno == errno.EACCES:
            raise NotAllowedError(f"listening at {where} is not allowed.", "Give a --port of 1024 or more.") from None
        raise UsageError(f"cannot listen at {where}: {error.strerror}.") from None
    sock.setblocking(False)
    return sock


def _listen_unix(path: Path) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("--unix is not for this platform.", "Use --host and --port.")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~UNIX_MODE)  # it is never open to others, not even between bind and chmod
    try:
        sock.bind(str(path))
        path.chmod(UNIX_MODE)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = "the path is too long" if "too long" in str(error) else error.strerror
        raise UsageError(f"cannot listen at {path}: {reason}.", "Give another --unix.") from None
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that has ended; refuse anything else."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} exists already, and is no socket.", "Give another --unix.")
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
    raise UsageError(f"another program listens at {path} already.", "Give another --unix.")


def mark_of(settings: ServeSettings) -> int:
    """What tells our socket's file from another that has taken its place."""
    return Path(settings.unix).lstat().st_ino if settings.unix is not None else 0


def remove_socket(settings: ServeSettings, mark: int) -> None:
    """Remove the file of a socket, unless another has taken its place."""
    if settings.unix is not None:
        with suppress(OSError):
            if mark_of(settings) == mark:
                Path(settings.unix).unlink()


def address_of(settings: ServeSettings, sock: socket.socket) -> str:
    """Where a client finds the server."""
    if settings.unix is not None:
        return f"unix:{settings.unix}"
    host, port = sock.getsockname()[:2]
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """Return what TLS is made with.

    Raises:
        NotFoundError, NotAllowedError, InputError: a file is not there, may not be read, or is not what it should be.
    """
    for name, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            Path(path).open("rb").close()
        except FileNotFoundError:
            raise NotFoundError(f"there is no file {path}, which {name} names.") from None
        except PermissionError:
            raise NotAllowedError(f"{path} may not be read.", "Check the file's rights.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _Locked:
        raise InputError(f"the private key {key} is encrypted.", "Give one without a password, in a file that only "
                         "the server can read.") from None  # fmt: skip
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise InputError(f"the private key {key} does not belong to the certificate {cert}.") from None
        raise InputError(f"{cert} and {key} are no certificate and private key in PEM.") from None
    return context


def _no_password() -> str:
    raise _Locked
