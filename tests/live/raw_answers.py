"""What the raw REST API of an engine says of its instances, in one form for all engines: what tokctl has to say, too.

Nothing here uses tokctl. What one engine does not tell is None.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

from live.driving import Driver, FlowableDriver, OperatonDriver

STATUS = {"EXTERNALLY_TERMINATED": "CANCELLED", "INTERNALLY_TERMINATED": "CANCELLED"}
JOB_LISTS = ("jobs", "timer-jobs", "deadletter-jobs", "suspended-jobs")


class RawInstance(NamedTuple):
    """A process instance."""

    process: str
    version: int
    business_key: str | None
    status: str
    started_at: datetime
    ended_at: datetime | None


class RawVisit(NamedTuple):
    """A visit of an element."""

    element: str
    started_at: datetime
    ended_at: datetime | None
    cancelled: bool


class RawTrouble(NamedTuple):
    """A job or external task that is not tried again by itself."""

    instance: str
    element: str
    message: str


class RawWait(NamedTuple):
    """Something that an element of an instance waits for: ``kind`` and ``name`` as in ``waiting_for``.

    The name of a timer is its due date; of a user task, its id, assignee and due date.
    """

    element: str
    kind: str
    name: str | None = None
    due_at: datetime | None = None
    assignee: str | None = None


def read_time(text: str | None) -> datetime | None:
    """Read a time of either engine, to the millisecond."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


class OperatonAnswers:
    """Of Operaton and Camunda 7."""

    def __init__(self, driver: Driver) -> None:
        assert isinstance(driver, OperatonDriver)
        self.driver = driver

    def instances(self) -> dict[str, RawInstance]:
        """All instances by id."""
        return {
            row["id"]: RawInstance(
                row["processDefinitionKey"],
                row["processDefinitionVersion"],
                row["businessKey"],
                STATUS.get(row["state"], row["state"]),
                read_time(row["startTime"]),
                read_time(row["endTime"]),
            )
            for row in self.driver.get("/history/process-instance")
        }

    def visits(self, instance: str) -> dict[str, RawVisit]:
        """The visits of an instance by id."""
        return {
            row["id"]: RawVisit(
                row["activityId"].removesuffix("#multiInstanceBody"),
                read_time(row["startTime"]),
                read_time(row["endTime"]),
                row["canceled"] and row["activityType"] != "eventBasedGateway",
            )
            for row in self.driver.get("/history/activity-instance", processInstanceId=instance)
        }

    def troubles(self) -> list[RawTrouble]:
        """The incidents of all instances. One of a called instance is also one of the caller, with the same cause."""
        rows = self.driver.get("/incident")
        messages = {row["id"]: row["incidentMessage"] for row in rows}
        return sorted(
            RawTrouble(
                row["processInstanceId"],
                row["failedActivityId"] or row["activityId"],
                messages[row["rootCauseIncidentId"]],
            )
            for row in rows
        )

    def retries(self, instance: str) -> dict[str, tuple[int, datetime | None]]:
        """Element → retries left and the time of the next try, of the tasks and jobs that have failed."""
        left = {}
        for row in self.driver.get("/external-task", processInstanceId=instance):
            if row["errorMessage"]:
                left[row["activityId"]] = (row["retries"], read_time(row["lockExpirationTime"]))
        for row in self.driver.get("/job", processInstanceId=instance):
            if row["exceptionMessage"]:
                left[row["failedActivityId"]] = (row["retries"], read_time(row["dueDate"]))
        return left

    def waits(self, instance: str) -> list[RawWait]:
        """What the elements of a live instance wait for: people, workers, messages, signals; boundary events, too."""
        found = [
            RawWait(row["taskDefinitionKey"], "user_task", row["id"], read_time(row["due"]), row["assignee"])
            for row in self.driver.get("/task", processInstanceId=instance)
        ]
        found += [
            RawWait(row["activityId"], row["eventType"], row["eventName"])
            for row in self.driver.get("/event-subscription", processInstanceId=instance)
        ]
        found += [
            RawWait(row["activityId"], "external_task", row["topicName"])
            for row in self.driver.get("/external-task", processInstanceId=instance)
        ]
        return sorted(found, key=repr)

    def timers(self, instance: str) -> list[datetime | None]:
        """When the timers of an instance fire."""
        return sorted(
            read_time(row["dueDate"]) for row in self.driver.get("/job", processInstanceId=instance, timers="true")
        )

    def variables(self, instance: str) -> dict[str, Any]:
        """The variables of an instance."""
        path = "/history/variable-instance"
        return {
            row["name"]: row["value"]
            for row in self.driver.get(path, processInstanceId=instance, deserializeValues="false")
            if row["activityInstanceId"] == instance
        }


class FlowableAnswers:
    """Of Flowable. Its history table tells which visits were cancelled."""

    def __init__(self, driver: Driver) -> None:
        assert isinstance(driver, FlowableDriver)
        self.driver = driver

    def instances(self) -> dict[str, RawInstance]:
        """All instances by id."""
        suspended = {row["id"] for row in self.driver.rows("/runtime/process-instances", suspended="true")}
        return {
            row["id"]: RawInstance(
                row["processDefinitionId"].split(":")[0],
                int(row["processDefinitionId"].split(":")[1]),
                row["businessKey"],
                self.status(row, row["id"] in suspended),
                read_time(row["startTime"]),
                read_time(row["endTime"]),
            )
            for row in self.driver.rows("/history/historic-process-instances")
        }

    @staticmethod
    def status(row: dict[str, Any], suspended: bool) -> str:
        """Return the status of an instance, which the engine does not name."""
        if row["endTime"] is None:
            return "SUSPENDED" if suspended else "ACTIVE"
        reason = row["deleteReason"]
        return "COMPLETED" if reason is None or reason.startswith("terminate end event") else "CANCELLED"

    def visits(self, instance: str) -> dict[str, RawVisit]:
        """The visits of an instance by id.

        Boundary events have rows from when they are armed: visits, as often as a flow left them.
        """
        rows = self.driver.get("/management/tables/ACT_HI_ACTINST/data", size=100_000)["data"]
        own = [row for row in rows if row["PROC_INST_ID_"] == instance]
        fired = Counter(row["ACT_ID_"].split("_to_")[0] for row in own if row["ACT_TYPE_"] == "sequenceFlow")
        visits = {}
        for row in sorted(own, key=lambda row: row["START_TIME_"]):
            element, kind, ended = row["ACT_ID_"], row["ACT_TYPE_"], read_time(row.get("END_TIME_"))
            if kind == "sequenceFlow" or (kind == "boundaryEvent" and (ended is None or not fired[element])):
                continue
            fired[element] -= 1
            started = ended if kind == "boundaryEvent" else read_time(row["START_TIME_"])
            cancelled = row.get("DELETE_REASON_") not in {None, "MI_END"} and kind != "endEvent"
            visits[row["ID_"]] = RawVisit(element, started, ended, cancelled)
        return visits

    def flows(self, instance: str) -> list[str]:
        """The sequence flows that were taken, with repetitions."""
        rows = self.driver.rows("/history/historic-activity-instances", processInstanceId=instance)
        return sorted(row["activityId"] for row in rows if row["activityType"] == "sequenceFlow")

    def troubles(self) -> list[RawTrouble]:
        """The dead letters of all instances."""
        return sorted(
            RawTrouble(row["processInstanceId"], row["elementId"], row["exceptionMessage"])
            for row in self.driver.rows("/management/deadletter-jobs")
        )

    def retries(self, instance: str) -> dict[str, tuple[int, datetime | None]]:
        """Element → retries left and the time of the next try, of the jobs that have failed."""
        rows = [
            row for name in JOB_LISTS for row in self.driver.rows(f"/management/{name}", processInstanceId=instance)
        ]
        external = self.driver.rows(f"{self.driver.external}/jobs", processInstanceId=instance)
        return {
            row["elementId"]: (row["retries"], read_time(row["dueDate"] or row.get("lockExpirationTime")))
            for row in rows + external
            if row["exceptionMessage"]
        }

    def waits(self, instance: str) -> list[RawWait]:
        """What the elements of a live instance wait for: people, messages, signals; boundary events, too."""
        found = [
            RawWait(row["taskDefinitionKey"], "user_task", row["id"], read_time(row["dueDate"]), row["assignee"])
            for row in self.driver.rows("/runtime/tasks", processInstanceId=instance)
        ]
        found += [
            RawWait(row["activityId"], row["eventType"], row["eventName"])
            for row in self.driver.rows("/runtime/event-subscriptions", processInstanceId=instance)
        ]
        return sorted(found, key=repr)

    def timers(self, instance: str) -> list[datetime | None]:
        """When the timers of an instance fire."""
        rows = self.driver.rows("/management/timer-jobs", processInstanceId=instance)
        return sorted(read_time(row["dueDate"]) for row in rows if row["handlerType"] == "trigger-timer")

    def variables(self, instance: str) -> dict[str, Any]:
        """The variables of an instance."""
        rows = self.driver.rows("/history/historic-variable-instances", processInstanceId=instance)
        return {row["variable"]["name"]: row["variable"]["value"] for row in rows}


ANSWERS = {"operaton": OperatonAnswers, "flowable": FlowableAnswers}
