"""JWTs of every kind, good and bad, and the keys for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET = "a secret of JWTs that is used by tests alone"
LATE, NOT_YET_VALID = -60, 60  # s; more than the leeway


@cache
def rsa_key(number: int = 0, bits: int = 2048):
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(number: int = 0):
    return ec.generate_private_key(ec.SECP256R1())


def pem(key, *, private: bool = False) -> bytes:
    if private:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key, kid: str | None, **more) -> dict:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    made = json.loads(algorithm.to_jwk(key.public_key()))
    return made | ({} if kid is None else {"kid": kid}) | more


def secret_file(path: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def jwks_file(path: Path, *keys: dict) -> Path:
    path.write_text(json.dumps({"keys": keys}), encoding="utf-8")
    path.chmod(0o644)
    return path


def claims(**more) -> dict:
    """The claims of a good one; None leaves one out."""
    said = {"userId": 7, "email": "ada@example.org", "exp": int(time.time()) + 300} | more
    return {name: value for name, value in said.items() if value is not None}


def signed(key=SECRET, algorithm: str = "HS256", kid: str | None = None, **more) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers=None if kid is None else {"kid": kid})


def forged(head: dict, secret: bytes | None, **more) -> str:
    """One made by hand: with any head, signed by HMAC-SHA256 or not at all."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims(**more))]
    text = b".".join(parts)
    mark = b"" if secret is None else hmac.digest(secret, text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()
