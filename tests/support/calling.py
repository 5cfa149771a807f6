"""Fixtures for tests of the client: an environment that names no proxy, and a client that does not really wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tokctl.client import Client, Connection

SECRET = "xvc_" + "S3cr3t" * 6


class Calls:
    """Makes clients, and keeps what they were waiting for and what they warned of."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.warnings: list[str] = []
        self.made: list[Client] = []

    def __call__(self, url: str, *, random: Callable[[], float] = lambda: 1.0, **options) -> Client:
        given = {"credential": lambda: SECRET, "timeout": 2.0, "connect_timeout": 2.0} | options
        client = Client(Connection(url, **given), sleep=self.waits.append, random=random, warn=self.warnings.append)
        self.made.append(client)
        return client


@pytest.fixture
def calls(monkeypatch) -> Iterator[Calls]:
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (*proxies, "ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle", "curl_ca_bundle", "netrc"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Calls()
    yield made
    for client in made.made:
        client.close()
