"""The access log: every request and no secret; rotation, a full disk, and a reader that does not read."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import stat
import subprocess
import sys
import time
from urllib.parse import unquote

import httpx
import pytest

from support.commandline import clean_environment
from support.running_server import ENVIRONMENT, PEPPER, SMALL, path_of, serving
from tokctl.server.access_log import AccessLog, redact_target

TOKENS = path_of("processes", SMALL, "tokens")


def test_the_log_has_every_request_and_no_secret(own, tmp_path):
    store, secret = own
    log = tmp_path / "requests.log"
    with serving(store, "--access-log", str(log)) as served:
        served.get(TOKENS, secret)
        served.get(f"{TOKENS}?state=ACTIVE&api_key={secret}&note=private", secret)
        served.get(f"{TOKENS}?element={secret}", secret)
        served.get(path_of("processes", secret), secret)
        served.get(f"{path_of('processes')}/%2578{secret[1:]}?element={secret.upper()}", secret)
        served.get(TOKENS, secret[:-1])
        served.get(TOKENS, headers={"Authorization": f"Basic {secret}", "X-Request-ID": secret})
        served.get("/health", headers={"X-Request-ID": "line1"})
        figures = served.get("/metrics", secret).text
        time.sleep(0.3)
        log.rename(tmp_path / "old.log")
        served.get("/health", headers={"X-Request-ID": "line2"})
        assert served.end() == 0
    old, new = (path.read_text(encoding="utf-8") for path in (tmp_path / "old.log", log))
    lines = [json.loads(line) for line in old.splitlines()]
    assert [line["status"] for line in lines] == [200, 400, 200, 404, 400, 401, 401, 200, 200]
    assert lines[1]["path"] == f"{TOKENS}?state=ACTIVE&api_key=…&note=…"
    assert lines[2]["path"] == f"{TOKENS}?element=xvc_…"
    assert lines[3]["path"] == "/api/v1/processes/xvc_…"
    assert lines[4]["path"] == "/api/v1/processes/xvc_…?element=…"
    assert [line.get("token_name") for line in lines] == ["own"] * 5 + [None] * 3 + ["own"]
    assert lines[5]["reason"] == "unknown"
    assert [*lines[0]] == [
        "time",
        "request_id",
        "client",
        "method",
        "path",
        "status",
        "bytes",
        "duration_ms",
        "token_id",
        "token_name",
    ]
    assert json.loads(new)["request_id"] == "line2"
    for text in (old, new, figures, "\n".join(served.lines)):
        assert secret[8:-1].lower() not in text.lower()
        assert PEPPER not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


def encode(text: str, times: int) -> str:
    """Percent-encode every character, several times."""
    for _ in range(times):
        text = "".join(f"%{ord(character):02X}" for character in text)
    return text


JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sflKxwRJSMeKKF2QT4fwpMeJf36POk6yJVadQssw5c"
SECRET = "xvc_" + "aB3dEf9hK2mN" * 3
DISGUISES = {
    "as it is": str,
    "upper case": str.upper,
    "first letter": lambda text: encode(text[0], 1) + text[1:],
    "marker": lambda text: encode(text[:4], 1) + text[4:],
    "lower-case hex": lambda text: encode(text[:4], 1).lower() + text[4:],
    "whole": lambda text: encode(text, 1),
    "twice": lambda text: encode(text[:4], 2) + text[4:],
    "capital, twice": lambda text: encode(text[0].upper(), 2) + text[1:],
    "seven times": lambda text: "%" + "25" * 6 + f"{ord(text[0]):02x}" + text[1:],
}


@pytest.mark.parametrize("secret", [SECRET, JWT], ids=["API token", "JWT"])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_secrets_are_masked_in_any_encoding(secret, disguise):
    text = DISGUISES[disguise](secret).encode()
    for path, query in ((b"/a/" + text, b""), (b"/a", b"known=" + text), (b"/a", text + b"=1"), (b"/a", text)):
        shown = redact_target(path, query, {"known"})
        assert shown.startswith("/a")
        for _ in range(8):
            assert secret[8:20].lower() not in shown.lower()
            shown = unquote(shown)


def test_other_targets_are_shown_as_they_are():
    assert redact_target(b"/api/a%2Fb%25/%D0%BA", b"known=%C3%A9+b&other=1", {"known"}) == (
        "/api/a%2Fb%25/%D0%BA?known=%C3%A9+b&other=…"
    )


def test_an_endless_encoding_is_not_unpacked():
    begin = time.perf_counter()
    assert redact_target(b"/%" + b"25" * 4000, b"", ()) == "/…"
    assert time.perf_counter() - begin < 0.5


def test_an_unread_log_delays_no_request(own):
    store, secret = own
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", "serve", "--store", str(store), "--port", "0"],
        stderr=subprocess.PIPE,
        env=clean_environment(ENVIRONMENT),
    )
    try:
        url = process.stderr.readline().split()[2].decode().rstrip(",")
        with httpx.Client(base_url=url, timeout=10, headers={"X-API-Key": secret}) as client:
            for _ in range(600):  # the pipe holds 64 kB; these are 150
                assert client.get(f"{TOKENS}?limit=1").status_code == 200
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_log_that_cannot_be_rotated_continues_in_the_old_file(tmp_path):
    path, folder = tmp_path / "logs" / "requests.log", tmp_path / "old"
    path.parent.mkdir()

    async def scenario():
        log = AccessLog(str(path))
        for n in range(3):
            log.log_event("one", n=n)
            await asyncio.sleep(0.15)
            if n == 0:
                path.parent.rename(folder)  # a new file cannot be created
            elif n == 1:
                path.parent.mkdir()
        log.close()

    asyncio.run(scenario())
    told = [
        [json.loads(line)["n"] for line in file.read_text(encoding="utf-8").splitlines()]
        for file in (folder / path.name, path)
    ]
    assert told == [[0, 1], [2]]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit to files here")
def test_a_line_cut_by_a_full_disk_does_not_damage_the_next(tmp_path):
    path, before = tmp_path / "requests.log", resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def scenario():
        log = AccessLog(str(path))
        log.log_event("whole")
        await asyncio.sleep(0.15)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
        log.log_event("torn", text="x" * 100)
        await asyncio.sleep(0.15)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.log_event("again")
        log.close()

    try:
        asyncio.run(scenario())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    first, torn, last = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["event"] == "whole"
    assert not torn.endswith("}")
    assert json.loads(last)["event"] == "again"
