"""The keys of JWTs: which are taken, which are not, and when their files change."""

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
from jwt_making import (
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

from running_server import make_store, refused, serving
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.server.jwts import INVALID, Users
from tokctl.server.refusals import Refusal
from tokctl.server.settings import serve_settings


def users(**settings) -> Users:
    return Users(serve_settings({name: str(value) for name, value in settings.items()}, {}))


def test_the_algorithm_is_that_of_the_key(tmp_path):
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
            caller, why = checks.caller(text.encode(), "1.2.3.4")
            if kind == algorithm:
                actor = caller.actor
                assert (actor.kind, actor.id, actor.name, actor.origin) == ("user", "7", "ada@example.org", "1.2.3.4")
            else:
                assert (caller, why) == (None, INVALID)
    confused = forged({"alg": "HS256"}, pem(rsa_key())), forged({"alg": "none"}, None), forged({"alg": "HS256"}, b"")
    for text in confused:
        for kind, checks in kinds.items():
            assert checks.caller(text.encode(), "") == (None, INVALID), kind
    for head in ("HS384", "HS512"):
        assert kinds["HS256"].caller(signed(SECRET * 2, head).encode(), "")[0] is None


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
def test_a_key_s_id_finds_it(tmp_path):
    path = tmp_path / "keys.json"
    unfit = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o"}, jwk(rsa_key(2, 1024), "small"), "x", {"kty": "RSA", "n": 1},
        jwk(rsa_key(3), "enc", use="enc"), jwk(rsa_key(3), "other", alg="PS256"), {"kty": "OKP", "kid": 1},
    ]  # fmt: skip
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(4))) | {"kid": "private"}
    several = users(jwt_jwks_file=jwks_file(path, jwk(rsa_key(), "r"), jwk(ec_key(), "e", use="sig"), private, *unfit))
    for key, algorithm, kid, good in (
        (rsa_key(), "RS256", "r", True), (ec_key(), "ES256", "e", True), (rsa_key(4), "RS256", "private", True),
        (rsa_key(), "RS256", "e", False), (rsa_key(), "RS256", None, False), (rsa_key(3), "RS256", "enc", False),
        (rsa_key(3), "RS256", "other", False), (rsa_key(2, 1024), "RS256", "small", False),
        (ec_key(), "ES256", "", False),
    ):  # fmt: skip
        assert (several.caller(signed(key, algorithm, kid).encode(), "")[0] is not None) is good, kid
    single = users(jwt_jwks_file=jwks_file(path, jwk(ec_key(), None)))
    assert single.caller(signed(ec_key(), "ES256").encode(), "")[0] is not None
    assert single.caller(signed(ec_key(), "ES256", "some").encode(), "")[0] is None
    assert single.caller(signed(ec_key(1), "ES256").encode(), "")[0] is None


@pytest.mark.parametrize(("said", "good"), [
    ({"iss": "us", "aud": "tokctl"}, True), ({"iss": "us", "aud": ["x", "tokctl"]}, True), ({"iss": "us"}, False),
    ({"aud": "tokctl"}, False), ({"iss": "them", "aud": "tokctl"}, False), ({"iss": "us", "aud": "x"}, False),
])  # fmt: skip
def test_issuer_and_audience(tmp_path, said, good):
    path = secret_file(tmp_path / "secret")
    strict = users(jwt_secret_file=path, jwt_issuer="us", jwt_audience="tokctl")
    assert (strict.caller(signed(**said).encode(), "")[0] is not None) is good
    lax = users(jwt_secret_file=path)
    assert (lax.caller(signed(**said).encode(), "")[0] is not None) is ("aud" not in said)


@pytest.mark.parametrize(("said", "good"), [
    ({"exp": -5}, True), ({"exp": -60}, False), ({"exp": "soon"}, False), ({"exp": float("inf")}, False),
    ({"exp": None}, False),
    ({"nbf": 5}, True), ({"nbf": 60}, False), ({"nbf": "x"}, False), ({"userId": 0}, True),
    ({"userId": ""}, False),
    ({"userId": True}, False), ({"userId": 1.5}, False), ({"userId": 1 << 60}, False), ({"userId": "x" * 256}, False),
    ({"userId": "\ud800"}, False), ({"userId": "a\n"}, False),
    ({"userId": ["x"]}, False), ({"userId": None, "sub": "s"}, True), ({"email": 5}, True), ({"sub": 5}, True),
])  # fmt: skip
def test_claims(tmp_path, said, good):
    """Times are seconds from now."""
    said = {name: value + int(time.time()) if name in {"exp", "nbf"} and isinstance(value, int) else value
            for name, value in said.items()}  # fmt: skip
    caller, _ = users(jwt_secret_file=secret_file(tmp_path / "secret")).caller(signed(**said).encode(), "")
    assert (caller is not None) is good


def test_an_email_that_cannot_be_written_is_none(tmp_path):
    checks = users(jwt_secret_file=secret_file(tmp_path / "secret"))
    for email in ("\udc80@x", "a\x1b[31m@x", "", ["a@x"]):
        caller, _ = checks.caller(signed(email=email).encode(), "")
        assert (caller.actor.name, caller.created_by.email) == ("", None)


def test_a_file_that_changes_is_read_again(tmp_path):
    path = secret_file(tmp_path / "secret")
    checks, text, other = users(jwt_secret_file=path), signed().encode(), signed("x" * 40).encode()
    assert (checks.caller(text, "")[0] is not None, checks.caller(other, "")[0]) == (True, None)
    secret_file(path, "x" * 40)
    assert (checks.caller(text, "")[0], checks.caller(other, "")[0] is not None) == (None, True)
    for spoil in (lambda: path.write_text("short", encoding="ascii"), path.unlink):
        spoil()
        for _ in range(2):  # and it stays so: an old key is none
            with pytest.raises(Refusal) as caught:
                checks.caller(other, "")
            assert caught.value.status == 503
    secret_file(path)
    assert checks.caller(text, "")[0] is not None
    assert SECRET not in repr(vars(checks))


def p384():
    return ec.generate_private_key(ec.SECP384R1())


def other_kind() -> bytes:
    return (
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize(("option", "data", "mode", "error", "match"), [
    ("jwt_secret_file", b"x" * 31 + b"\n", 0o600, InputError, "too short: 31 bytes"),
    ("jwt_secret_file", b"x" * 40, 0o640, NotAllowedError, "can be read by others"),
    ("jwt_secret_file", lambda: pem(rsa_key()), 0o600, InputError, "no secret"),
    ("jwt_key_file", b"x" * 40, 0o644, InputError, "no public key in PEM"),
    ("jwt_key_file", lambda: pem(rsa_key(), private=True), 0o600, InputError, "a private key"),
    ("jwt_key_file", lambda: pem(rsa_key(2, 1024)), 0o644, InputError, "of no kind"),
    ("jwt_key_file", lambda: pem(p384()), 0o644, InputError, "of no kind"),
    ("jwt_key_file", other_kind, 0o644, InputError, "of no kind"),
    ("jwt_key_file", lambda: pem(rsa_key()), 0o646, NotAllowedError, "can be changed by others"),
    ("jwt_jwks_file", b"{", 0o644, InputError, "is no JWKS"),
    ("jwt_jwks_file", b'{"keys": 1}', 0o644, InputError, "is no JWKS"),
    ("jwt_jwks_file", b'{"keys": [{"kty": "oct", "k": "eA"}]}', 0o644, InputError, "has no key"),
], ids=range(12))  # fmt: skip
def test_a_key_that_is_none(tmp_path, option, data, mode, error, match):
    path = tmp_path / "key"
    path.write_bytes(data() if callable(data) else data)
    path.chmod(mode)
    with pytest.raises(error, match=match) as caught:
        users(**{option: path})
    assert "xxxx" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(NotFoundError, match=r"no file .*, which --jwt-secret-file names"):
        users(jwt_secret_file=tmp_path / "none")
    with pytest.raises(InputError, match="--jwt-key-file"):
        users(jwt_key_file=tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="is no file"):
            users(jwt_secret_file=tmp_path / "pipe")


def test_options_that_do_not_go_together():
    with pytest.raises(UsageError, match="exclude each other"):
        serve_settings({"jwt_secret_file": "a", "jwt_jwks_file": "b"}, {})
    with pytest.raises(UsageError, match="need a key"):
        serve_settings({"jwt_issuer": "us"}, {})


def test_a_server_with_a_wrong_key_does_not_begin(tmp_path):
    store = make_store(tmp_path / "own.db")
    path = secret_file(tmp_path / "secret", "short and secret")
    refused(store, "--port", 0, "--jwt-secret-file", path, code=7, match="too short")


def test_a_key_in_the_configuration_that_changes_while_the_server_runs(tmp_path):
    store, keys = make_store(tmp_path / "own.db"), tmp_path / "keys.json"
    jwks_file(keys, jwk(rsa_key(), "r"))
    (tmp_path / "config.yaml").write_text(f"serve: {{jwt_jwks_file: {keys}, jwt_audience: us}}", encoding="utf-8")
    with serving(store, env={"TOKCTL_CONFIG": str(tmp_path / "config.yaml")}) as served:
        assert not any("no request can be authorised" in line for line in served.lines)

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


def test_without_a_key_nothing_of_it_is_imported():
    code = (
        "import sys; import tokctl.server.app, tokctl.server.run, tokctl.cli.serve;"
        "print([name for name in ('jwt', 'cryptography', 'tokctl.server.jwts') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
