"""The metrics of a store, read for each response: every server of the store reports the same."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tokctl.store.protocol import StoreLevels


class StoreCollector(Collector):
    """The metrics of a store; if it cannot be read (None), only that."""

    def __init__(self, levels: StoreLevels | None) -> None:
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        levels = self._levels
        yield _gauge("tokctl_store_up", "Whether the store can be read.", levels is not None)
        if levels is None:
            return
        yield _gauge("tokctl_store_schema_version", "Version of the schema of the store.", levels.schema_version)
        yield _gauge("tokctl_store_size_bytes", "Size of the store.", levels.size_bytes)
        yield _gauge("tokctl_open_instances", "Process instances with live tokens.", levels.open_instances)
        yield _gauge(
            "tokctl_live_tokens", "Process tokens that have not ended, FAILED ones included.", levels.live_tokens
        )
        yield _gauge("tokctl_failed_tokens", "Process tokens that are FAILED.", levels.failed_tokens)
        yield _gauge("tokctl_api_tokens", "API tokens that are not revoked.", levels.api_tokens)
        if levels.next_expiry is not None:
            yield _gauge(
                "tokctl_api_token_next_expiry_timestamp_seconds",
                "When the next API token expires, without regard to maximum lifetimes.",
                levels.next_expiry.timestamp(),
            )
        changes = GaugeMetricFamily(
            "tokctl_store_last_change_timestamp_seconds", "When the store was last written to.", labels=("changed",)
        )
        for changed, revision in (("processes", levels.revisions.process), ("api_tokens", levels.revisions.access)):
            if revision:  # the time in ms, see Database.increment_revision
                changes.add_metric((changed,), revision / 1000)
        yield changes


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)
