"""The keys of JWTs: which are accepted, which are not, and when their files change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.jwt_making import (
    SECRET,
    ec_key,
    forged,
    jwk,
    jwks_file,
    pem,
    rsa_key,
    secret_file,
    signed,
)
from support.running_server import make_store, refused, serving
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.server.http_errors import HTTPError
from tokctl.server.jwts import INVALID, JWTVerifier
from tokctl.server.settings import serve_settings


def users(**settings) -> JWTVerifier:
    return JWTVerifier(serve_settings({name: str(value) for name, value in settings.items()}, {}))


def test_the_key_determines_the_algorithm(tmp_path):
    (tmp_path / "rsa.pem").write_bytes(pem(rsa_key()))
    (tmp_path / "ec.pem").write_bytes(pem(ec_key()))
    kinds = {
        "HS256": users(jwt_secret_file=secret_file(tmp_path / "secret", f"{SECRET}\n")),
        "RS256": users(jwt_key_file=tmp_path / "rsa.pem"),
        "ES256": users(jwt_key_file=tmp_path / "ec.pem"),
    }
    made = {"HS256": signed(), "RS256": signed(rsa_key(), "RS256"), "ES256": signed(ec_key(), "ES256")}
    for kind, checks in kinds.items():
        for algorithm, text in made.items():
            caller, why = checks.verify(text.encode(), "1.2.3.4")
            if kind == algorithm:
                actor = caller.actor
                assert (actor.kind, actor.id, actor.name, actor.origin) == ("user", "7", "ada@example.org", "1.2.3.4")
            else:
                assert (caller, why) == (None, INVALID)
    confused = forged({"alg": "HS256"}, pem(rsa_key())), forged({"alg": "none"}, None), forged({"alg": "HS256"}, b"")
    for text in confused:
        for kind, checks in kinds.items():
            assert checks.verify(text.encode(), "") == (None, INVALID), kind
    for head in ("HS384", "HS512"):
        assert kinds["HS256"].verify(signed(SECRET * 2, head).encode(), "")[0] is None


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
def test_keys_are_found_by_id(tmp_path):
    path = tmp_path / "keys.json"
    unfit = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o"},
        jwk(rsa_key(2, 1024), "small"),
        "x",
        {"kty": "RSA", "n": 1},
        jwk(rsa_key(3), "enc", use="enc"),
        jwk(rsa_key(3), "other", alg="PS256"),
        {"kty": "OKP", "kid": 1},
    ]
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(4))) | {"kid": "private"}
    several = users(jwt_jwks_file=jwks_file(path, jwk(rsa_key(), "r"), jwk(ec_key(), "e", use="sig"), private, *unfit))
    for key, algorithm, kid, good in (
        (rsa_key(), "RS256", "r", True),
        (ec_key(), "ES256", "e", True),
        (rsa_key(4), "RS256", "private", True),
        (rsa_key(), "RS256", "e", False),
        (rsa_key(), "RS256", None, False),
        (rsa_key(3), "RS256", "enc", False),
        (rsa_key(3), "RS256", "other", False),
        (rsa_key(2, 1024), "RS256", "small", False),
        (ec_key(), "ES256", "", False),
    ):
        assert (several.verify(signed(key, algorithm, kid).encode(), "")[0] is not None) is good, kid
    single = users(jwt_jwks_file=jwks_file(path, jwk(ec_key(), None)))
    assert single.verify(signed(ec_key(), "ES256").encode(), "")[0] is not None
    assert single.verify(signed(ec_key(), "ES256", "some").encode(), "")[0] is None
    assert single.verify(signed(ec_key(1), "ES256").encode(), "")[0] is None


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ({"iss": "us", "aud": "tokctl"}, True),
        ({"iss": "us", "aud": ["x", "tokctl"]}, True),
        ({"iss": "us"}, False),
        ({"aud": "tokctl"}, False),
        ({"iss": "them", "aud": "tokctl"}, False),
        ({"iss": "us", "aud": "x"}, False),
    ],
)
def test_issuer_and_audience(tmp_path, said, good):
    path = secret_file(tmp_path / "secret")
    strict = users(jwt_secret_file=path, jwt_issuer="us", jwt_audience="tokctl")
    assert (strict.verify(signed(**said).encode(), "")[0] is not None) is good
    lax = users(jwt_secret_file=path)
    assert (lax.verify(signed(**said).encode(), "")[0] is not None) is ("aud" not in said)


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ({"exp": -5}, True),
        ({"exp": -60}, False),
        ({"exp": "soon"}, False),
        ({"exp": float("inf")}, False),
        ({"exp": None}, False),
        ({"nbf": 5}, True),
        ({"nbf": 60}, False),
        ({"nbf": "x"}, False),
        ({"userId": 0}, True),
        ({"userId": ""}, False),
        ({"userId": True}, False),
        ({"userId": 1.5}, False),
        ({"userId": 1 << 60}, False),
        ({"userId": "x" * 256}, False),
        ({"userId": "\ud800"}, False),
        ({"userId": "a\n"}, False),
        ({"userId": ["x"]}, False),
        ({"userId": None, "sub": "s"}, True),
        ({"email": 5}, True),
        ({"sub": 5}, True),
    ],
)
def test_claims(tmp_path, said, good):
    """Times are seconds from now."""
    said = {
        name: value + int(time.time()) if name in {"exp", "nbf"} and isinstance(value, int) else value
        for name, value in said.items()
    }
    caller, _ = users(jwt_secret_file=secret_file(tmp_path / "secret")).verify(signed(**said).encode(), "")
    assert (caller is not None) is good


def test_an_unprintable_email_is_ignored(tmp_path):
    checks = users(jwt_secret_file=secret_file(tmp_path / "secret"))
    for email in ("\udc80@x", "a\x1b[31m@x", "", ["a@x"]):
        caller, _ = checks.verify(signed(email=email).encode(), "")
        assert (caller.actor.name, caller.created_by.email) == ("", None)


def test_a_changed_key_file_is_read_again(tmp_path):
    path = secret_file(tmp_path / "secret")
    checks, text, other = users(jwt_secret_file=path), signed().encode(), signed("x" * 40).encode()
    assert (checks.verify(text, "")[0] is not None, checks.verify(other, "")[0]) == (True, None)
    secret_file(path, "x" * 40)
    assert (checks.verify(text, "")[0], checks.verify(other, "")[0] is not None) == (None, True)
    for spoil in (lambda: path.write_text("short", encoding="ascii"), path.unlink):
        spoil()
        for _ in range(2):  # twice: an old key is not used again
            with pytest.raises(HTTPError) as caught:
                checks.verify(other, "")
            assert caught.value.status == 503
    secret_file(path)
    assert checks.verify(text, "")[0] is not None
    assert SECRET not in repr(vars(checks))


def p384():
    return ec.generate_private_key(ec.SECP384R1())


def other_kind() -> bytes:
    return (
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize(
    ("option", "data", "mode", "error", "match"),
    [
        ("jwt_secret_file", b"x" * 31 + b"\n", 0o600, InputError, "too short: 31 bytes"),
        ("jwt_secret_file", b"x" * 40, 0o640, NotAllowedError, "can be read by others"),
        ("jwt_secret_file", lambda: pem(rsa_key()), 0o600, InputError, "not a secret"),
        ("jwt_key_file", b"x" * 40, 0o644, InputError, "no public key in PEM"),
        ("jwt_key_file", lambda: pem(rsa_key(), private=True), 0o600, InputError, "a private key"),
        ("jwt_key_file", lambda: pem(rsa_key(2, 1024)), 0o644, InputError, "is not supported"),
        ("jwt_key_file", lambda: pem(p384()), 0o644, InputError, "is not supported"),
        ("jwt_key_file", other_kind, 0o644, InputError, "is not supported"),
        ("jwt_key_file", lambda: pem(rsa_key()), 0o646, NotAllowedError, "can be changed by others"),
        ("jwt_jwks_file", b"{", 0o644, InputError, "is not a JWKS"),
        ("jwt_jwks_file", b'{"keys": 1}', 0o644, InputError, "is not a JWKS"),
        ("jwt_jwks_file", b'{"keys": [{"kty": "oct", "k": "eA"}]}', 0o644, InputError, "has no supported key"),
    ],
    ids=range(12),
)
def test_invalid_keys(tmp_path, option, data, mode, error, match):
    path = tmp_path / "key"
    path.write_bytes(data() if callable(data) else data)
    path.chmod(mode)
    with pytest.raises(error, match=match) as caught:
        users(**{option: path})
    assert "xxxx" not in str(caught.value)


def test_unreadable_key_files(tmp_path):
    with pytest.raises(NotFoundError, match=r"--jwt-secret-file: .* does not exist"):
        users(jwt_secret_file=tmp_path / "none")
    with pytest.raises(InputError, match="--jwt-key-file"):
        users(jwt_key_file=tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="is not a file"):
            users(jwt_secret_file=tmp_path / "pipe")


def test_conflicting_options():
    with pytest.raises(UsageError, match="cannot be used together"):
        serve_settings({"jwt_secret_file": "a", "jwt_jwks_file": "b"}, {})
    with pytest.raises(UsageError, match="require a key"):
        serve_settings({"jwt_issuer": "us"}, {})


def test_a_server_with_an_invalid_key_does_not_start(tmp_path):
    store = make_store(tmp_path / "own.db")
    path = secret_file(tmp_path / "secret", "short and secret")
    refused(store, "--port", 0, "--jwt-secret-file", path, code=7, match="too short")


def test_a_configured_key_that_changes_while_the_server_runs(tmp_path):
    store, keys = make_store(tmp_path / "own.db"), tmp_path / "keys.json"
    jwks_file(keys, jwk(rsa_key(), "r"))
    (tmp_path / "config.yaml").write_text(f"serve: {{jwt_jwks_file: {keys}, jwt_audience: us}}", encoding="utf-8")
    with serving(store, env={"TOKCTL_CONFIG": str(tmp_path / "config.yaml")}) as served:
        assert not any("the server will reject all requests" in line for line in served.lines)

        def ask(key, kid, audience="us"):
            secret = signed(key, "RS256", kid, aud=audience)
            return served.client.get("/api/api-tokens", headers={"Authorization": f"Bearer {secret}"})

        def status(*asked):
            return ask(*asked).status_code

        assert (status(rsa_key(), "r"), status(rsa_key(), "r", "them"), status(rsa_key(1), "s")) == (200, 401, 401)
        jwks_file(keys, jwk(rsa_key(1), "s"))
        assert (status(rsa_key(), "r"), status(rsa_key(1), "s")) == (401, 200)
        keys.unlink()
        assert status(rsa_key(1), "s") == 503
        (line,) = served.log(ask(rsa_key(1), "s").headers["x-request-id"])
        assert "keys.json" in line["reason"]
        assert served.get("/health").status_code == 200


def test_jwt_packages_are_not_imported_without_a_key():
    code = (
        "import sys; import tokctl.server.application, tokctl.server.run, tokctl.cli.serve;"
        "print([name for name in ('jwt', 'cryptography', 'tokctl.server.jwts') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
