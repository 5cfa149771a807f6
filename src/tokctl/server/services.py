"""What handlers and the pipeline use: made once for each process."""

from __future__ import annotations

from time import monotonic

from tokctl.api_tokens.pepper import Pepper
from tokctl.server.access_log import AccessLog
from tokctl.server.authentication import Authenticator
from tokctl.server.cache import ResponseCache
from tokctl.server.client_address import TrustedProxies
from tokctl.server.lifetimes import MaxLifetimes
from tokctl.server.live_store import open_live_store
from tokctl.server.metrics import Metrics
from tokctl.server.salts import SaltRemover
from tokctl.server.sessions import Sessions
from tokctl.server.settings import ServeSettings
from tokctl.server.stores import ReaderPool
from tokctl.server.throttle import Throttle
from tokctl.server.usage import UsageRecorder
from tokctl.server.writer import Writer


class Services:
    """The store (for the event loop, for threads, for writing), and everything that requests share.

    ``openapi`` is the OpenAPI document; the application sets it, because it is made from the endpoints.
    """

    def __init__(self, store: str, pepper: Pepper, settings: ServeSettings, log: AccessLog) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.pepper = pepper
        self.log = log
        self.metrics = Metrics()
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.readers = ReaderPool(store, self.limits, self.metrics.observe_store)
        self.live_store = open_live_store(store, self.readers, log.log_event)
        self.writer = Writer(store, log.log_event, self.metrics.observe_store, read_only=settings.read_only)
        self.cache = ResponseCache(self.limits.cache)
        self.lifetimes = MaxLifetimes(settings.max_lifetimes)
        throttle = Throttle(monotonic, burst=self.limits.failures, shares=settings.workers)
        self.authenticator = Authenticator(pepper, self.live_store, throttle, self.metrics, self.lifetimes, settings)
        self.sessions = Sessions(pepper, self.authenticator, self.proxies)
        self.usage = UsageRecorder(store, log.log_event, read_only=settings.read_only)
        self.salts = SaltRemover(store, log.log_event)
        self.openapi = b""

    async def close(self) -> None:
        """Write the last uses of API tokens, and close every store."""
        await self.salts.finish()
        await self.usage.finish()
        await self.readers.close()
        self.writer.close()
        self.live_store.close()
