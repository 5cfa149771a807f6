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
from tokctl.model.instances import Instance
from tokctl.model.states import FAILED
from tokctl.text import count

FAILED_JOBS = frozenset({FAILED, "DEFERRED", "ERROR_THROWN"})
"""States of jobs with an error message."""
MAX_UNEXPLAINED_INSTANCES = 10
"""Of open instances without a job and a timer, the number that debug reads the tokens of, the oldest ones first."""


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

    def select_failed(self, instances: Sequence[Instance]) -> list[Instance]:
        """Return the instances that may have a FAILED token: those with a FAILED job, and a few without any job."""
        jobs, timed = self.all_jobs(), self.waiting_for_timers()
        likely, silent = [], []
        for instance in instances:
            open_jobs = [job for job in jobs.get(instance.instance_id, ()) if job.is_open]
            if any(job.state == FAILED for job in open_jobs):
                likely.append(instance)
            elif not open_jobs and instance.instance_id not in timed:
                silent.append(instance)
        skipped = len(silent) - MAX_UNEXPLAINED_INSTANCES
        if skipped > 0:
            which = count(skipped, "open instance has", "open instances have")
            warn(f"{which} neither a job nor a timer; whether one of its tokens FAILED was not checked.")
        return [*likely, *silent[:MAX_UNEXPLAINED_INSTANCES]]
