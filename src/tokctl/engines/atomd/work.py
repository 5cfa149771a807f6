"""The jobs and timers of all instances of an atomd server: it has one list of each, which it sends whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from threading import RLock

from msgspec.structs import replace

from tokctl.engines.atomd.api import AtomdApi
from tokctl.engines.atomd.documents import InstanceInfo, Job, read_job, read_timer
from tokctl.engines.connect import warn
from tokctl.errors import NotAllowedError, NotFoundError


class WorkLists:
    """Fetches each list once. May be used from any thread."""

    def __init__(self, api: AtomdApi) -> None:
        self._api = api
        self._lock = RLock()
        self._jobs: Mapping[str, Sequence[Job]] | None = None  # by instance
        self._timed: set[str] | None = None

    def all_jobs(self) -> Mapping[str, Sequence[Job]]:
        """Return the jobs by instance. Without the permission there are none, and a warning."""
        with self._lock:
            if self._jobs is None:
                jobs: dict[str, list[Job]] = defaultdict(list)
                try:
                    for job in self._api.iter_untyped(("jobs",), "key", read_job):
                        jobs[job.instance_id].append(job)
                except NotAllowedError as error:
                    warn(f"Workers, retries and timeouts are not available: {error.message}")
                self._jobs = jobs
            return self._jobs

    def jobs_of(self, instance_id: str, info: InstanceInfo | None) -> Sequence[Job]:
        """Return the jobs of an instance, each with its token; errors only with ``info``."""
        jobs = self.all_jobs().get(instance_id, ())
        errors = {job.key: job.error for job in info.jobs} if info else {}
        return [replace(job, error=errors.get(job.key)) for job in jobs]

    def waiting_for_timers(self) -> set[str]:
        """Return the instances in which a timer at a catch event will fire; none without the permission."""
        with self._lock:
            if self._timed is None:
                self._timed = set()
                try:
                    for timer in self._api.iter_untyped(("timers",), "timer_id", read_timer):
                        if timer.is_scheduled and timer.type == "EVENT":
                            self._timed.add(timer.instance_id)
                except (NotAllowedError, NotFoundError):
                    pass
            return self._timed
