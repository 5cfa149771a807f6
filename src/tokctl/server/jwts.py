"""JWTs: the keys that they are checked with, and the users that they name. Imported only where a key is given.

The algorithm is that of the key: HS256 of a secret, RS256 of an RSA key, ES256 of one on P-256. What the head of a
JWT says of it has to agree, and decides nothing. Only the key's id is taken from there, to find it among several.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Struct

from tokctl.access.audit import Actor
from tokctl.access.model import CreatedBy
from tokctl.access.scopes import EVERY
from tokctl.config.file import at_home
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError
from tokctl.server.callers import Caller, granted
from tokctl.server.refusals import RETRY_SECONDS, later
from tokctl.server.settings import ServeSettings

LEEWAY_SECONDS = 10
LEAST_SECRET = 32  # bytes, as many as an HMAC-SHA256 has
LEAST_RSA = 2048  # bits
LARGEST = 1 << 20
LONGEST_ID = 255
LARGEST_ID = (1 << 53) - 1
EXPIRED = "expired JWT"
EARLY = "JWT not valid yet"
INVALID = "invalid JWT"
_OTHERS_READ = 0o077
_OTHERS_WRITE = 0o002
_PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}

PublicKey = RSAPublicKey | EllipticCurvePublicKey


class Key(Struct, frozen=True):
    """A key, and the one algorithm that it is for."""

    algorithm: str
    value: Any

    def __repr__(self) -> str:
        """The algorithm alone: the key may be a secret."""
        return f"Key({self.algorithm!r})"


class Users:
    """Tells the user of a JWT. The file of the keys is read again when it has changed."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the keys.

        Raises:
            NotFoundError, NotAllowedError, InputError: the file is not there, has the wrong rights, or no such keys.
        """
        kinds = (
            ("--jwt-secret-file", settings.jwt_secret_file, _secret),
            ("--jwt-key-file", settings.jwt_key_file, _pem),
            ("--jwt-jwks-file", settings.jwt_jwks_file, _jwks),
        )
        self.issuer = settings.jwt_issuer
        self.audience = settings.jwt_audience
        ((self._option, path, self._decode),) = [kind for kind in kinds if kind[1] is not None]
        self._path = at_home(str(path))
        self._seen: tuple[int, ...] = ()
        self._keys: dict[str | None, Key] = {}
        self._load()

    def caller(self, text: bytes, origin: str) -> tuple[Caller | None, str]:
        """Return the caller that a JWT names, or why it is no good.

        Raises:
            Refusal: the keys cannot be read at present.
        """
        try:
            self._load()
        except TokctlError as error:
            raise later(503, "KEYS_UNAVAILABLE", "JWTs cannot be checked at present.", RETRY_SECONDS,
                        str(error)) from None  # fmt: skip
        try:
            head = jwt.get_unverified_header(text)
            key = self._key_of(head)
            if key is None or "crit" in head:  # what is critical in it (RFC 7515, section 4.1.11) we do not know
                return None, INVALID
            claims = jwt.decode(
                text, key.value, [key.algorithm], issuer=self.issuer, audience=self.audience, leeway=LEEWAY_SECONDS,
                options={"require": ["exp"], "verify_sub": False, "verify_jti": False},
            )  # fmt: skip
        except jwt.ExpiredSignatureError:
            return None, EXPIRED
        except jwt.ImmatureSignatureError:
            return None, EARLY
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            return None, INVALID
        caller = _caller(claims, origin)
        return caller, "" if caller is not None else INVALID

    def _key_of(self, head: dict[str, Any]) -> Key | None:
        """The key that the head names; where there is but one, it need name none."""
        if self._decode is not _jwks:
            return self._keys[None]
        name = head.get("kid")
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name) if isinstance(name, str) else None

    def _load(self) -> None:
        path, option = self._path, self._option
        try:
            status = path.stat()
            seen = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
            if seen == self._seen:
                return
            data = _read(path, secret=self._decode is _secret)
        except FileNotFoundError:
            raise NotFoundError(f"there is no file {path}, which {option} names.") from None
        except PermissionError:
            raise NotAllowedError(f"{path}, which {option} names, may not be read.",
                                  "Check the file's rights.") from None  # fmt: skip
        except OSError as error:
            raise InputError(f"{path}, which {option} names, cannot be read: {error.strerror}.") from None
        self._keys = self._decode(data, path)
        self._seen = seen


def _read(path: Path, *, secret: bool) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is no file.")
        if os.name == "posix" and status.st_mode & (_OTHERS_READ if secret else _OTHERS_WRITE):
            which = "read" if secret else "changed"
            raise NotAllowedError(f"the file of keys {path} can be {which} by others.",
                                  f"Run 'chmod {'600' if secret else 'o-w'} {path}'.")  # fmt: skip
        return stream.read(LARGEST)


# --- keys -------------------------------------------------------------------------------------------


def _secret(data: bytes, path: Path) -> dict[str | None, Key]:
    secret = data.strip(b"\r\n")
    if len(secret) < LEAST_SECRET:
        raise InputError(f"the secret in {path} is too short: {len(secret)} bytes.",
                         f"Give at least {LEAST_SECRET}, such as 'openssl rand -hex 32' prints.")  # fmt: skip
    if b"-----BEGIN" in secret:
        raise InputError(f"{path} holds a key in PEM, no secret.", "Give a public key with --jwt-key-file.")
    return {None: Key("HS256", secret)}


def _pem(data: bytes, path: Path) -> dict[str | None, Key]:
    try:
        found = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        what = "a private key" if b"PRIVATE KEY-----" in data else "no public key in PEM"
        raise InputError(f"{path} holds {what}.",
                         "Give the public key, as 'openssl pkey -pubout' prints it.") from None  # fmt: skip
    key = _public(found)
    if key is None:
        raise InputError(f"the key in {path} is of no kind that JWTs are checked with here.",
                         f"Give one of RSA with {LEAST_RSA} bits or more, or one on the curve P-256.")  # fmt: skip
    return {None: key}


def _public(key: Any) -> Key | None:
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA:
        return Key("RS256", key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return Key("ES256", key)
    return None


def _jwks(data: bytes, path: Path) -> dict[str | None, Key]:
    """Keys by their ids; those for something else than signatures of ours are left out."""
    try:
        listed = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InputError(f"{path} is no JWKS: an object with a list 'keys'.")
    keys = {}
    for one in listed:
        key = _jwk(one) if isinstance(one, dict) else None
        if key is not None and one.get("alg", key.algorithm) == key.algorithm:
            keys[one.get("kid")] = key
    if not keys:
        raise InputError(f"the JWKS {path} has no key that JWTs can be checked with here.",
                         f"RSA keys of {LEAST_RSA} bits or more can, and those on the curve P-256.")  # fmt: skip
    return keys


def _jwk(value: dict[str, Any]) -> Key | None:
    members = _PUBLIC.get(str(value.get("kty")))
    if members is None or value.get("use", "sig") != "sig" or not isinstance(value.get("kid"), str | None):
        return None
    try:  # of a private key its public members alone
        return _public(jwt.PyJWK({name: value[name] for name in members}).key)
    except (KeyError, ValueError, TypeError, jwt.PyJWTError):
        return None


# --- claims -----------------------------------------------------------------------------------------


def _caller(claims: dict[str, Any], origin: str) -> Caller | None:
    """The caller that claims name by ``userId``, or else ``sub``; None where they name nobody.

    Texts that are not printable are none: JSON has halves of surrogate pairs, which no log and no store takes.
    """
    user = claims.get("userId", claims.get("sub"))
    whole = isinstance(user, int) and not isinstance(user, bool) and abs(user) <= LARGEST_ID
    if not whole and not (isinstance(user, str) and 0 < len(user) <= LONGEST_ID and user.isprintable()):
        return None
    email = claims.get("email")
    email = email[:LONGEST_ID] if isinstance(email, str) and email and email.isprintable() else None
    actor = Actor(kind="user", id=str(user), name=email or "", origin=origin)
    return Caller(actor=actor, created_by=CreatedBy(id=user, email=email), grants=_grants(claims))


def _grants(claims: dict[str, Any]) -> tuple[str, ...]:
    """What the user may give: what is in ``scope`` (words) or ``scopes`` (a list), in both where both are there."""
    found = granted((EVERY,))
    for name in ("scope", "scopes"):
        if name in claims:
            value = claims[name]
            words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
            held = granted(tuple(word for word in words if isinstance(word, str)))
            found = tuple(scope for scope in found if scope in held)
    return found
