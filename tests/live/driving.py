"""Drives process instances of real engines through their raw REST APIs, in the same words for each of them."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from support.paths import TESTS

MODELS = TESTS / "live" / "models"
WORKER = "worker-1"
HOUR = 3600


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for something that an engine does by itself."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Driver(ABC):
    """Does to an engine what clients, workers, people and operators do."""

    root: str

    def __init__(self, url: str) -> None:
        """Take the address of the server, or the root of the API of one of its engines."""
        self.url = url if self.root in url else url + self.root
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of a GET."""
        return self.ask("GET", path, params=params)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of an answer; None if it is empty."""
        answer = self.client.request(method, path, **options)
        assert answer.is_success, (method, path, options, answer.status_code, answer.text[:1000])
        return answer.json() if answer.content and "json" in answer.headers.get("Content-Type", "") else None

    def deploy_models(self) -> dict[str, str]:
        """Deploy every model, ``approval`` for a tenant also; returns the ids of the process definitions."""
        definitions = {path.stem: self.deploy_model(path.stem) for path in sorted(MODELS.glob("*.bpmn"))}
        self.deploy_model("approval", tenant="acme")
        return definitions

    def deploy_model(self, name: str, tenant: str | None = None) -> str:
        """Deploy one of the models; returns the id of the process definition."""
        return self.deploy(f"{name}.bpmn", (MODELS / f"{name}.bpmn").read_text(encoding="utf-8"), tenant)

    def settle(self) -> None:
        """Wait until the engine has no job to execute now."""
        wait_until(lambda: not self.due_jobs())

    @abstractmethod
    def deploy(self, name: str, xml: str, tenant: str | None = None) -> str:
        """Deploy a model; returns the id of the process definition."""

    @abstractmethod
    def start(
        self, process: str, business_key: str, variables: dict[str, Any] | None = None, tenant: str | None = None
    ) -> str:
        """Start an instance of the newest version; returns its id. Variables that are objects are JSON."""

    @abstractmethod
    def complete(self, instance: str, element: str, variables: dict[str, Any] | None = None) -> None:
        """Complete the oldest user task of an element."""

    @abstractmethod
    def lock(self, instance: str, topic: str) -> str:
        """Let a worker take the oldest free external task of a topic, for an hour; returns its id."""

    @abstractmethod
    def work(self, instance: str, topic: str, variables: dict[str, Any] | None = None) -> None:
        """Let a worker take an external task and complete it."""

    @abstractmethod
    def fail(self, instance: str, topic: str, message: str, retries: int) -> None:
        """Let a worker fail an external task; the next try is in an hour."""

    @abstractmethod
    def throw(self, instance: str, topic: str, code: str) -> None:
        """Let a worker end an external task with a BPMN error."""

    @abstractmethod
    def send(self, instance: str, message: str) -> None:
        """Send a message to an instance."""

    @abstractmethod
    def receive(self, instance: str, element: str, message: str) -> None:
        """Let a receive task go on by its message."""

    @abstractmethod
    def signal(self, instance: str, name: str) -> None:
        """Send a signal to one execution of an instance."""

    @abstractmethod
    def fire(self, instance: str) -> None:
        """Let the only timer of an instance fire."""

    @abstractmethod
    def suspend(self, instance: str) -> None:
        """Suspend an instance."""

    @abstractmethod
    def suspend_definition(self, definition: str, *, with_instances: bool) -> None:
        """Suspend a process definition, so that no instance of it can be started; perhaps with those it has."""

    @abstractmethod
    def cancel(self, instance: str, reason: str) -> None:
        """Delete a live instance."""

    @abstractmethod
    def move(self, instance: str, from_element: str, to_element: str) -> None:
        """Cancel an element's only token and start another element."""

    @abstractmethod
    def migrate(self, instance: str, definition: str) -> None:
        """Migrate an instance to another definition with the same elements."""

    @abstractmethod
    def due_jobs(self) -> int:
        """Count the jobs that the engine is going to execute now."""

    @abstractmethod
    def called(self, instance: str) -> str:
        """Return the id of the only instance that an instance has called."""


class OperatonDriver(Driver):
    """Operaton and Camunda 7."""

    root = "/engine-rest"

    def deploy(self, name: str, xml: str, tenant: str | None = None) -> str:
        data = {"deployment-name": name} | ({"tenant-id": tenant} if tenant else {})
        answer = self.ask("POST", "/deployment/create", data=data, files={"data": (name, xml)})
        (definition,) = answer["deployedProcessDefinitions"]
        return definition

    def start(
        self, process: str, business_key: str, variables: dict[str, Any] | None = None, tenant: str | None = None
    ) -> str:
        of_tenant = f"/tenant-id/{tenant}" if tenant else ""
        body = {"businessKey": business_key, "variables": self.typed(variables)}
        return self.ask("POST", f"/process-definition/key/{process}{of_tenant}/start", json=body)["id"]

    @staticmethod
    def typed(variables: dict[str, Any] | None) -> dict[str, Any]:
        """Return variables as the API takes them; this engine has no JSON type, its clients send text."""
        return {
            name: {"value": json.dumps(value) if isinstance(value, dict | list) else value}
            for name, value in (variables or {}).items()
        }

    def oldest(self, path: str, instance: str, **params: Any) -> dict[str, Any]:
        """Return the first entry of a list that concerns an instance."""
        found = self.get(path, processInstanceId=instance, **params)
        assert found, (path, instance, params)
        return found[0]

    def complete(self, instance: str, element: str, variables: dict[str, Any] | None = None) -> None:
        task = self.oldest("/task", instance, taskDefinitionKey=element, sortBy="created", sortOrder="asc")
        self.ask("POST", f"/task/{task['id']}/complete", json={"variables": self.typed(variables)})

    def lock(self, instance: str, topic: str) -> str:
        task = self.oldest("/external-task", instance, topicName=topic, notLocked="true")["id"]
        self.ask("POST", f"/external-task/{task}/lock", json={"workerId": WORKER, "lockDuration": HOUR * 1000})
        return task

    def work(self, instance: str, topic: str, variables: dict[str, Any] | None = None) -> None:
        body = {"workerId": WORKER, "variables": self.typed(variables)}
        self.ask("POST", f"/external-task/{self.lock(instance, topic)}/complete", json=body)

    def fail(self, instance: str, topic: str, message: str, retries: int) -> None:
        body = {"workerId": WORKER, "errorMessage": message, "errorDetails": f"{message}\n  at {topic}"}
        body |= {"retries": retries, "retryTimeout": HOUR * 1000}
        self.ask("POST", f"/external-task/{self.lock(instance, topic)}/failure", json=body)

    def throw(self, instance: str, topic: str, code: str) -> None:
        body = {"workerId": WORKER, "errorCode": code, "errorMessage": f"{code} by {WORKER}"}
        self.ask("POST", f"/external-task/{self.lock(instance, topic)}/bpmnError", json=body)

    def send(self, instance: str, message: str) -> None:
        self.ask("POST", "/message", json={"messageName": message, "processInstanceId": instance})

    def receive(self, instance: str, element: str, message: str) -> None:  # noqa: ARG002 - the message says it all
        self.send(instance, message)

    def signal(self, instance: str, name: str) -> None:
        waiting = self.oldest("/event-subscription", instance, eventType="signal", eventName=name)
        self.ask("POST", "/signal", json={"name": name, "executionId": waiting["executionId"]})

    def fire(self, instance: str) -> None:
        (timer,) = self.get("/job", processInstanceId=instance, timers="true")
        self.ask("POST", f"/job/{timer['id']}/execute")

    def suspend(self, instance: str) -> None:
        self.ask("PUT", f"/process-instance/{instance}/suspended", json={"suspended": True})

    def suspend_definition(self, definition: str, *, with_instances: bool) -> None:
        body = {"suspended": True, "includeProcessInstances": with_instances}
        self.ask("PUT", f"/process-definition/{definition}/suspended", json=body)

    def cancel(self, instance: str, reason: str) -> None:
        body = {"processInstanceIds": [instance], "deleteReason": reason}
        self.finish_batch(self.ask("POST", "/process-instance/delete", json=body)["id"])

    def move(self, instance: str, from_element: str, to_element: str) -> None:
        instructions = [
            {"type": "cancel", "activityId": from_element},
            {"type": "startBeforeActivity", "activityId": to_element},
        ]
        self.ask("POST", f"/process-instance/{instance}/modification", json={"instructions": instructions})

    def migrate(self, instance: str, definition: str) -> None:
        source = self.get(f"/process-instance/{instance}")["definitionId"]
        ids = {"sourceProcessDefinitionId": source, "targetProcessDefinitionId": definition}
        plan = self.ask("POST", "/migration/generate", json=ids)
        self.ask("POST", "/migration/execute", json={"migrationPlan": plan, "processInstanceIds": [instance]})

    def clean_history(self, instances: Collection[str]) -> None:
        """Let the engine remove all that its history has of instances, be they live, as it does in time."""
        body = {"absoluteRemovalTime": "2020-01-01T00:00:00.000+0000", "historicProcessInstanceIds": [*instances]}
        self.finish_batch(self.ask("POST", "/history/process-instance/set-removal-time", json=body)["id"])
        self.ask("POST", "/history/cleanup", params={"immediatelyDue": "true"})
        wait_until(lambda: not self.get("/history/process-instance", processInstanceIds=",".join(instances)))

    def finish_batch(self, batch: str) -> None:
        """Wait until the engine has done a batch."""
        wait_until(lambda: not self.get("/batch", batchId=batch))

    def due_jobs(self) -> int:
        return self.get("/job/count", executable="true", withRetriesLeft="true", active="true")["count"]

    def called(self, instance: str) -> str:
        (child,) = self.get("/process-instance", superProcessInstance=instance)
        return child["id"]


class FlowableDriver(Driver):
    """Flowable."""

    root = "/process-api"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.external = url + "/external-job-api"

    def rows(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Return a whole list."""
        answer = self.get(path, size=100_000, **params)
        assert answer["total"] == len(answer["data"])
        return answer["data"]

    def deploy(self, name: str, xml: str, tenant: str | None = None) -> str:
        data = {"tenantId": tenant} if tenant else None
        deployment = self.ask("POST", "/repository/deployments", data=data, files={"file": (name, xml)})["id"]
        (definition,) = self.rows("/repository/process-definitions", deploymentId=deployment)
        return definition["id"]

    def start(
        self, process: str, business_key: str, variables: dict[str, Any] | None = None, tenant: str | None = None
    ) -> str:
        body = {"processDefinitionKey": process, "businessKey": business_key, "variables": self.typed(variables)}
        return self.ask("POST", "/runtime/process-instances", json=body | ({"tenantId": tenant} if tenant else {}))[
            "id"
        ]

    @staticmethod
    def typed(variables: dict[str, Any] | None) -> list[dict[str, Any]]:
        """Return variables as the API takes them; a list becomes an object that the engine serializes."""
        return [
            {"name": name, "value": value} | ({"type": "json"} if isinstance(value, dict) else {})
            for name, value in (variables or {}).items()
        ]

    def complete(self, instance: str, element: str, variables: dict[str, Any] | None = None) -> None:
        task = self.rows("/runtime/tasks", processInstanceId=instance, taskDefinitionKey=element, sort="createTime")[0]
        body = {"action": "complete", "variables": self.typed(variables)}
        self.ask("POST", f"/runtime/tasks/{task['id']}", json=body)

    def lock(self, instance: str, topic: str) -> str:
        acquire = {"topic": topic, "lockDuration": "PT1H", "numberOfTasks": 1000, "workerId": WORKER}
        jobs = self.ask("POST", f"{self.external}/acquire/jobs", json=acquire)
        own = sorted(job["id"] for job in jobs if job["processInstanceId"] == instance)
        for other in {job["id"] for job in jobs} - {own[0]}:
            self.ask("POST", f"{self.external}/unacquire/jobs/{other}", json={"workerId": WORKER})
        return own[0]

    def finish_job(self, job: str, action: str, **more: Any) -> None:
        """Let the worker report what became of a job."""
        self.ask("POST", f"{self.external}/acquire/jobs/{job}/{action}", json={"workerId": WORKER} | more)

    def work(self, instance: str, topic: str, variables: dict[str, Any] | None = None) -> None:
        self.finish_job(self.lock(instance, topic), "complete", variables=self.typed(variables))
        self.settle()  # a job of the engine goes on behind it

    def fail(self, instance: str, topic: str, message: str, retries: int) -> None:
        details = {"errorMessage": message, "errorDetails": f"{message}\n  at {topic}"}
        self.finish_job(self.lock(instance, topic), "fail", retries=retries, retryTimeout="PT1H", **details)

    def throw(self, instance: str, topic: str, code: str) -> None:
        self.finish_job(self.lock(instance, topic), "bpmnError", errorCode=code)
        self.settle()

    def send(self, instance: str, message: str) -> None:
        self.trigger(instance, "message", message)

    def receive(self, instance: str, element: str, message: str) -> None:  # noqa: ARG002 - it subscribes to none
        (execution,) = self.rows("/runtime/executions", processInstanceId=instance, activityId=element)
        self.ask("PUT", f"/runtime/executions/{execution['id']}", json={"action": "trigger"})

    def signal(self, instance: str, name: str) -> None:
        self.trigger(instance, "signal", name)

    def trigger(self, instance: str, kind: str, name: str) -> None:
        """Let an execution that waits for an event go on."""
        waiting = self.rows("/runtime/event-subscriptions", processInstanceId=instance, eventType=kind, eventName=name)
        body = {"action": f"{kind}EventReceived", f"{kind}Name": name}
        self.ask("PUT", f"/runtime/executions/{waiting[0]['executionId']}", json=body)

    def fire(self, instance: str) -> None:
        (timer,) = self.rows("/management/timer-jobs", processInstanceId=instance)
        self.ask("POST", f"/management/timer-jobs/{timer['id']}", json={"action": "move"})
        self.settle()

    def suspend(self, instance: str) -> None:
        self.ask("PUT", f"/runtime/process-instances/{instance}", json={"action": "suspend"})

    def suspend_definition(self, definition: str, *, with_instances: bool) -> None:
        body = {"action": "suspend", "includeProcessInstances": with_instances}
        self.ask("PUT", f"/repository/process-definitions/{definition}", json=body)

    def cancel(self, instance: str, reason: str) -> None:
        self.ask("DELETE", f"/runtime/process-instances/{instance}", params={"deleteReason": reason})

    def move(self, instance: str, from_element: str, to_element: str) -> None:
        body = {"cancelActivityIds": [from_element], "startActivityIds": [to_element]}
        self.ask("POST", f"/runtime/process-instances/{instance}/change-state", json=body)

    def migrate(self, instance: str, definition: str) -> None:
        body = {"toProcessDefinitionId": definition}
        self.ask("POST", f"/runtime/process-instances/{instance}/migrate", json=body)

    def due_jobs(self) -> int:
        # a retry is scheduled to the second; one that is due in the next few is waited for, too
        soon = (datetime.now(UTC) + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        timers = self.get("/management/timer-jobs", size=0, dueBefore=soon)["total"]
        return self.get("/management/jobs", size=0)["total"] + timers

    def called(self, instance: str) -> str:
        (child,) = self.rows("/history/historic-process-instances", superProcessInstanceId=instance)
        return child["id"]


DRIVERS: dict[str, Callable[[str], Driver]] = {
    "operaton": OperatonDriver,
    "camunda": OperatonDriver,
    "flowable": FlowableDriver,
}
