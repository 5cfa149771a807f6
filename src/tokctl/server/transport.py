"""The transport that the HTTP server's protocol writes to."""

from __future__ import annotations

import asyncio

PASSED_ON = (
    "abort",
    "can_write_eof",
    "get_extra_info",
    "get_write_buffer_size",
    "is_closing",
    "is_reading",
    "pause_reading",
    "resume_reading",
    "set_write_buffer_limits",
    "write_eof",
)
"""The methods that are the real transport's own."""


class GuardedTransport(asyncio.Transport):
    """Passes all calls to the real transport, except the HTTP server's response to a malformed request.

    Only that response is written while the HTTP server reads: all others are written when the application sends them.
    It is discarded, and the caller of ``feed`` sends an error, because it knows whether other requests are under way.
    ``closing_since`` is the time of the event loop when the transport started to close, None before.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._is_feeding = False
        self._is_rejected = False
        self._held: list[bytes | bytearray | memoryview] | None = None
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        self.closing_since: float | None = None
        for name in PASSED_ON:
            setattr(self, name, getattr(transport, name))

    def feed(self, protocol: asyncio.Protocol, data: bytes) -> bool:
        """Pass data to the HTTP server's protocol; returns False if it rejects the data as malformed."""
        self._is_feeding = True
        try:
            protocol.data_received(data)
        finally:
            self._is_feeding = False
        return not self._is_rejected

    def abort_if_late(self, seconds: float, linger_seconds: float, stall_seconds: float) -> None:
        """Abort a transport that started to close ``seconds`` ago, if the client neither reads nor closes.

        With TLS a client that has received everything may not acknowledge the end of the session.
        """
        is_sent = not self._transport.get_write_buffer_size()
        if seconds > (linger_seconds if is_sent else stall_seconds):
            self._transport.abort()

    # --- writing ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write or buffer data; discard the HTTP server's response to a malformed request."""
        if self._is_feeding:
            self._is_rejected = True
        elif self._held is not None:
            self._held.append(data)
        else:
            self._transport.write(data)

    def hold(self) -> None:
        """Buffer what is written until ``release``, so that it is sent with one system call, in one packet."""
        self._held = []

    def release(self) -> None:
        """Write the buffered data."""
        held, self._held = self._held, None
        if held:
            self._transport.writelines(held)

    def close(self) -> None:
        """Close when everything is written; ignored when the HTTP server closes after a malformed request."""
        if not self._is_feeding and self.closing_since is None:
            self.release()
            self.closing_since = self._loop.time()
            self._transport.close()
