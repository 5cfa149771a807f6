"""What a client is told before it starts, and what it brings back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from tokctl import __version__


def no_credential() -> str | None:
    """The credential of who has none."""
    return None


def as_it_is(text: str) -> str:
    """Hide nothing."""
    return text


class Connection(Struct, frozen=True, repr_omit_defaults=True):
    """Where a server is and how to speak to it.

    ``url`` is the base that every path is put behind. ``credential`` is called once, when the first
    request needs it. ``timeout`` (s) bounds every silence of the server, ``connect_timeout`` (s) the
    making of a connection to one address, ``largest`` the bytes of an answer once they are decompressed.
    """

    url: str
    credential: Callable[[], str | None] = no_credential
    ca_file: str | None = None
    insecure: bool = False
    timeout: float = 30.0
    connect_timeout: float = 5.0
    retries: int = 3
    largest: int = 1 << 30
    user_agent: str = f"tokctl/{__version__}"

    def __repr__(self) -> str:
        # What a callable shows of itself may be what it was made of, and a URL may hold a password.
        return f"Connection(to {'…' if '@' in self.url else self.url!r})"


class Answer(Struct, frozen=True):
    """What a server answered: 200 for most, 304 to a question with an ETag, others where they were asked for.

    Header names are in lower case. ``elapsed`` (s) is the time from the request to the last byte. ``url``
    is fit to be shown, and ``hide`` takes the credential out of a text that the server may have echoed.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    elapsed: float = 0.0
    url: str = ""
    hide: Callable[[str], str] = as_it_is

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body):,} bytes, {self.url!r})"  # the body may hold a new secret
