"""JWTs: their verification keys, and the users in their claims. Imported only if a key is configured.

The key determines the algorithm: HS256 for a secret, RS256 for an RSA key, ES256 for a P-256 key. The header of a JWT
must have the same algorithm, but never selects one. Only the key id is taken from the header, to find the key.
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

from tokctl.api_tokens.audit import Actor
from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError
from tokctl.model.api_tokens import CreatedBy
from tokctl.model.scopes import WILDCARD_SCOPE
from tokctl.server.callers import Caller, expand_scopes
from tokctl.server.http_errors import RETRY_SECONDS, retry_later
from tokctl.server.settings import ServeSettings

LEEWAY_SECONDS = 10
MIN_SECRET_BYTES = 32  # the length of an HMAC-SHA256
MIN_RSA_BITS = 2048
MAX_KEY_FILE_BYTES = 1 << 20
MAX_ID_LENGTH = 255
MAX_NUMERIC_ID = (1 << 53) - 1
EXPIRED = "expired JWT"
NOT_YET_VALID = "JWT not valid yet"
INVALID = "invalid JWT"
_OTHERS_READ = 0o077
_OTHERS_WRITE = 0o002
_PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}

PublicKey = RSAPublicKey | EllipticCurvePublicKey


class VerificationKey(Struct, frozen=True):
    """A key and its only algorithm."""

    algorithm: str
    value: Any

    def __repr__(self) -> str:
        """Return the algorithm only: the key may be a secret."""
        return f"Key({self.algorithm!r})"


class JWTVerifier:
    """Verifies JWTs and finds their users. The key file is read again when it has changed."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the keys.

        Raises:
            NotFoundError: there is no such file.
            NotAllowedError: the file has the wrong permissions.
            InputError: the file has no usable key.
        """
        kinds = (
            ("--jwt-secret-file", settings.jwt_secret_file, _decode_secret),
            ("--jwt-key-file", settings.jwt_key_file, _decode_pem),
            ("--jwt-jwks-file", settings.jwt_jwks_file, _decode_jwks),
        )
        self.issuer = settings.jwt_issuer
        self.audience = settings.jwt_audience
        ((self._option, path, self._decode),) = [kind for kind in kinds if kind[1] is not None]
        self._path = expand_user(str(path))
        self._seen: tuple[int, ...] = ()
        self._keys: dict[str | None, VerificationKey] = {}
        self._load()

    def verify(self, text: bytes, origin: str) -> tuple[Caller | None, str]:
        """Return the caller of a JWT, or the reason why it is rejected.

        Raises:
            HTTPError: the keys cannot be read.
        """
        try:
            self._load()
        except TokctlError as error:
            raise retry_later(
                503, "KEYS_UNAVAILABLE", "JWTs cannot be verified. Try again later.", RETRY_SECONDS, str(error)
            ) from None
        try:
            head = jwt.get_unverified_header(text)
            key = self._find_key(head)
            if key is None or "crit" in head:  # no critical extension is supported (RFC 7515, section 4.1.11)
                return None, INVALID
            claims = jwt.decode(
                text,
                key.value,
                [key.algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp"], "verify_sub": False, "verify_jti": False},
            )
        except jwt.ExpiredSignatureError:
            return None, EXPIRED
        except jwt.ImmatureSignatureError:
            return None, NOT_YET_VALID
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            return None, INVALID
        caller = _read_caller(claims, origin)
        return caller, "" if caller is not None else INVALID

    def _find_key(self, head: dict[str, Any]) -> VerificationKey | None:
        """Return the key that the header names; a single key need not be named."""
        if self._decode is not _decode_jwks:
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
            data = _read_key_file(path, secret=self._decode is _decode_secret)
        except FileNotFoundError:
            raise NotFoundError(f"{option}: {path} does not exist.") from None
        except PermissionError:
            raise NotAllowedError(
                f"{option}: cannot read {path}: permission denied.", "Check the file's permissions."
            ) from None
        except OSError as error:
            raise InputError(f"{option}: cannot read {path}: {error.strerror}.") from None
        self._keys = self._decode(data, path)
        self._seen = seen


def _read_key_file(path: Path, *, secret: bool) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a file.")
        if os.name == "posix" and status.st_mode & (_OTHERS_READ if secret else _OTHERS_WRITE):
            which = "read" if secret else "changed"
            raise NotAllowedError(
                f"the key file {path} can be {which} by others.",
                f"Run 'chmod {'600' if secret else 'o-w'} {path}'.",
            )
        return stream.read(MAX_KEY_FILE_BYTES)


# --- keys -------------------------------------------------------------------------------------------


def _decode_secret(data: bytes, path: Path) -> dict[str | None, VerificationKey]:
    secret = data.strip(b"\r\n")
    if len(secret) < MIN_SECRET_BYTES:
        raise InputError(
            f"the secret in {path} is too short: {len(secret)} bytes.",
            f"Use at least {MIN_SECRET_BYTES}; 'openssl rand -hex 32' generates one.",
        )
    if b"-----BEGIN" in secret:
        raise InputError(f"{path} is a PEM key, not a secret.", "Use --jwt-key-file for a public key.")
    return {None: VerificationKey("HS256", secret)}


def _decode_pem(data: bytes, path: Path) -> dict[str | None, VerificationKey]:
    try:
        found = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        what = "a private key" if b"PRIVATE KEY-----" in data else "no public key in PEM"
        raise InputError(f"{path} contains {what}.", "Use the public key: 'openssl pkey -pubout' prints it.") from None
    key = _make_key(found)
    if key is None:
        raise InputError(
            f"the key in {path} is not supported.",
            f"Use an RSA key of at least {MIN_RSA_BITS} bits, or a P-256 key.",
        )
    return {None: key}


def _make_key(key: Any) -> VerificationKey | None:
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return VerificationKey("RS256", key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return VerificationKey("ES256", key)
    return None


def _decode_jwks(data: bytes, path: Path) -> dict[str | None, VerificationKey]:
    """Return the keys by id, without those for other purposes and algorithms."""
    try:
        listed = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InputError(f"{path} is not a JWKS: it has no list 'keys'.")
    keys = {}
    for one in listed:
        key = _decode_jwk(one) if isinstance(one, dict) else None
        if key is not None and one.get("alg", key.algorithm) == key.algorithm:
            keys[one.get("kid")] = key
    if not keys:
        raise InputError(
            f"the JWKS {path} has no supported key.",
            f"Use RSA keys of at least {MIN_RSA_BITS} bits, or P-256 keys.",
        )
    return keys


def _decode_jwk(value: dict[str, Any]) -> VerificationKey | None:
    members = _PUBLIC.get(str(value.get("kty")))
    if members is None or value.get("use", "sig") != "sig" or not isinstance(value.get("kid"), str | None):
        return None
    try:  # only the public members, even of a private key
        return _make_key(jwt.PyJWK({name: value[name] for name in members}).key)
    except (KeyError, ValueError, TypeError, jwt.PyJWTError):
        return None


# --- claims -----------------------------------------------------------------------------------------


def _read_caller(claims: dict[str, Any], origin: str) -> Caller | None:
    """Return the caller from the claim ``userId``, or else ``sub``; None if there is none.

    Unprintable values are rejected: JSON may contain lone surrogates, which log and store cannot encode.
    """
    user = claims.get("userId", claims.get("sub"))
    whole = isinstance(user, int) and not isinstance(user, bool) and abs(user) <= MAX_NUMERIC_ID
    if not whole and not (isinstance(user, str) and 0 < len(user) <= MAX_ID_LENGTH and user.isprintable()):
        return None
    email = claims.get("email")
    email = email[:MAX_ID_LENGTH] if isinstance(email, str) and email and email.isprintable() else None
    actor = Actor(kind="user", id=str(user), name=email or "", origin=origin)
    return Caller(actor=actor, created_by=CreatedBy(id=user, email=email), grants=_read_grants(claims))


def _read_grants(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the scopes that the user may grant: those in ``scope`` (words) and ``scopes`` (a list), if present."""
    found = expand_scopes((WILDCARD_SCOPE,))
    for name in ("scope", "scopes"):
        if name in claims:
            value = claims[name]
            words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
            held = expand_scopes(tuple(word for word in words if isinstance(word, str)))
            found = tuple(scope for scope in found if scope in held)
    return found
