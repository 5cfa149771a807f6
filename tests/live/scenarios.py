"""What is done to the instances that the tests look at: small scenarios, each in the same steps on every engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from live.driving import MODELS, Driver, OperatonDriver


class Case(NamedTuple):
    """An instance: its process, what is done to it, and where it stands then.

    ``live`` has (element, state) of the live tokens that have no live tokens within them, in order; ``status`` is that
    of the instance. Flowable has a token at each event behind an event-based gateway, other engines at the gateway;
    it has no incident at a call activity whose called instance has one.
    """

    process: str
    live: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[Any, ...], ...] = ()
    status: str = "ACTIVE"
    variables: Mapping[str, Any] = MappingProxyType({})
    tenant: str | None = None
    live_on_flowable: tuple[tuple[str, str], ...] | None = None

    def live_on(self, engine: str) -> tuple[tuple[str, str], ...]:
        """Return the live tokens in an engine."""
        return self.live_on_flowable if engine == "flowable" and self.live_on_flowable is not None else self.live


ORDER = {"amount": 120.5, "count": 3, "express": True, "name": "Ümit & Söhne", "order": {"lines": [1, 2], "to": "A"}}
FAIL, LOCK, WORK, THROW, COMPLETE, SEND = "fail", "lock", "work", "throw", "complete", "send"
NO, YES = {"approved": False}, {"approved": True}
NO_MONEY = "The account is empty"


def waits(*elements: str) -> tuple[tuple[str, str], ...]:
    """Return the live tokens that wait at elements."""
    return tuple((element, "WAITING") for element in sorted(elements))


CASES: dict[str, Case] = {
    "approval-new": Case("approval", waits("review"), variables=ORDER),
    "approval-refused": Case("approval", waits("rework"), ((COMPLETE, "review", NO),), variables=ORDER),
    "approval-again": Case("approval", waits("review"), ((COMPLETE, "review", NO), (COMPLETE, "rework")) * 2),
    "approval-done": Case("approval", (), ((COMPLETE, "review", YES),), "COMPLETED", ORDER),
    "approval-suspended": Case("approval", (("review", "SUSPENDED"),), (("suspend",),), "SUSPENDED"),
    "approval-cancelled": Case("approval", (), (("cancel", "not needed"),), "CANCELLED"),
    "approval-of-tenant": Case("approval", waits("review"), tenant="acme"),
    "failing-1": Case("failing", (("compute", "FAILED"),), variables=ORDER),
    "failing-2": Case("failing", (("compute", "FAILED"),)),
    "failing-3": Case("failing", (("compute", "FAILED"),)),
    "failing-cancelled": Case("failing", (), (("cancel", "given up"),), "CANCELLED"),
    "retrying": Case("retrying", waits("compute")),
    "worker-free": Case("worker", waits("pay")),
    "worker-locked": Case("worker", (("pay", "ACTIVE"),), ((LOCK, "pay"),)),
    "worker-retried": Case("worker", waits("pay"), ((FAIL, "pay", NO_MONEY, 2),)),
    "worker-failed": Case("worker", (("pay", "FAILED"),), ((FAIL, "pay", NO_MONEY, 0),), variables=ORDER),
    "worker-failed-later": Case("worker", (("ship", "FAILED"),), ((WORK, "pay"), (FAIL, "ship", "No\ntruck", 0))),
    "worker-halfway": Case(
        "worker", waits("ship"), ((WORK, "pay", {"paid": 12}),), variables={"parcels": [1, 2], "nothing": None}
    ),
    "worker-refused": Case("worker", waits("ask"), ((THROW, "pay", "REFUSED"),)),
    "worker-given-up": Case("worker", (), ((THROW, "pay", "REFUSED"), (COMPLETE, "ask")), "COMPLETED"),
    "worker-done": Case("worker", (), ((WORK, "pay"), (WORK, "ship")), "COMPLETED"),
    "worker-suspended": Case("worker", (("pay", "SUSPENDED"),), (("suspend",),), "SUSPENDED"),
    "waiting-message": Case("waiting", waits("paid")),
    "waiting-signal": Case("waiting", waits("go"), ((SEND, "paid"),)),
    "waiting-timer": Case("waiting", waits("pause"), ((SEND, "paid"), ("signal", "go"))),
    "waiting-receive": Case("waiting", waits("confirm"), ((SEND, "paid"), ("signal", "go"), ("fire",))),
    "waiting-done": Case(
        "waiting", (), ((SEND, "paid"), ("signal", "go"), ("fire",), ("receive", "confirm", "confirmed")), "COMPLETED"
    ),
    "choosing-open": Case("choosing", waits("which"), live_on_flowable=waits("abort", "answered", "tired")),
    "choosing-answered": Case("choosing", waits("thank"), ((SEND, "answer"),)),
    "choosing-tired": Case("choosing", waits("remind"), (("fire",),)),
    "choosing-aborted": Case("choosing", (), (("signal", "abort"),), "COMPLETED"),
    "guarded-armed": Case("guarded", waits("work")),
    "guarded-late": Case("guarded", waits("escalate"), (("fire",),)),
    "guarded-nudged": Case("guarded", waits("calm", "calm", "work"), ((SEND, "nudge"),) * 2),
    "guarded-calmed": Case("guarded", waits("work"), ((SEND, "nudge"), (WORK, "calm"))),
    "guarded-overtaken": Case("guarded", waits("calm"), ((SEND, "nudge"), (COMPLETE, "work"))),
    "joining-new": Case("joining", waits("bill", "check", "pack")),
    "joining-one": Case("joining", waits("bill", "check", "join"), ((COMPLETE, "pack"),)),
    "joining-two": Case("joining", waits("check", "join", "join"), ((COMPLETE, "pack"), (WORK, "bill"))),
    "joining-joined": Case(
        "joining", waits("send"), ((COMPLETE, "pack"), (WORK, "bill"), (COMPLETE, "check", {"drop": False}))
    ),
    "joining-for-ever": Case(
        "joining", waits("join", "join"), ((COMPLETE, "check", {"drop": True}), (COMPLETE, "pack"), (WORK, "bill"))
    ),
    "joining-failed": Case(
        "joining", (("bill", "FAILED"), *waits("check", "join")), ((COMPLETE, "pack"), (FAIL, "bill", "No paper", 0))
    ),
    "joining-moved": Case("joining", waits("bill", "check", "send"), (("move", "pack", "send"),)),
    "signing-first": Case("signing", waits("sign")),
    "signing-last": Case("signing", waits("sign"), ((COMPLETE, "sign"),) * 2),
    "signing-done": Case("signing", (), ((COMPLETE, "sign"),) * 3, "COMPLETED"),
    "picking-new": Case("picking", waits("pick", "pick", "pick")),
    "picking-one": Case("picking", waits("pick", "pick"), ((WORK, "item"),)),
    "picking-failed": Case(
        "picking", (("pick", "FAILED"), *waits("pick")), ((WORK, "item"), (FAIL, "item", "Not in stock", 0))
    ),
    "picking-picked": Case("picking", waits("pack"), ((WORK, "item"),) * 3),
    "inspecting-new": Case("inspecting", waits("look", "look")),
    "inspecting-uneven": Case("inspecting", waits("fix", "look"), ((COMPLETE, "look"),)),
    "inspecting-done": Case("inspecting", (), ((COMPLETE, "look"), (WORK, "fix")) * 2, "COMPLETED"),
    "nested-new": Case("nested", waits("fetch", "read")),
    "nested-half": Case("nested", waits("fetch", "meet"), ((COMPLETE, "read"),)),
    "nested-through": Case("nested", waits("use"), ((COMPLETE, "read"), (WORK, "fetch"))),
    "nested-broken": Case("nested", waits("repair"), ((THROW, "fetch", "BROKEN"),)),
    "nested-lapsed": Case("nested", (), (("fire",),), "COMPLETED"),
    "changing-new": Case("changing", waits("make")),
    "changing-changed": Case("changing", waits("handle", "handle", "make"), ((SEND, "change"),) * 2),
    "changing-recalled": Case("changing", waits("undo"), ((SEND, "change"), (SEND, "recall"))),
    "calling-failed": Case(
        "calling", (("call", "FAILED"),), variables={"broken": True}, live_on_flowable=(("call", "ACTIVE"),)
    ),
    "calling-waiting": Case("calling", (("call", "ACTIVE"),), variables={"broken": False}),
    "calling-cancelled": Case("calling", (), (("cancel", "all of it"),), "CANCELLED", {"broken": False}),
    "travelling-booked": Case("travelling", waits("decide"), ((WORK, "book"),)),
    "travelling-undone": Case("travelling", waits("unpack"), ((WORK, "book"), (COMPLETE, "decide", {"going": False}))),
    "travelling-done": Case("travelling", (), ((WORK, "book"), (COMPLETE, "decide", {"going": True})), "COMPLETED"),
    "ending-new": Case("ending", waits("fast", "slow")),
    "ending-stopped": Case("ending", (), ((COMPLETE, "fast"),), "COMPLETED"),
    "including-two": Case("including", waits("one", "two"), variables={"n": 2}),
    "including-half": Case("including", waits("all", "two"), ((COMPLETE, "one"),), variables={"n": 2}),
    "looping": Case("looping", waits("read"), variables={"n": 0}),
    "moving-behind": Case("moving", waits("first")),
    "moving-migrated": Case("moving", waits("first"), (("migrate_to_next",),)),
    "moving-migrated-later": Case("moving", waits("second"), ((COMPLETE, "first"), ("migrate_to_next",))),
    "halting": Case(
        "halting",
        (("compute", "FAILED"), *((element, "SUSPENDED") for element in ("pause", "pay", "read"))),
        status="SUSPENDED",
    ),
    "resting": Case("resting", (("compute", "FAILED"), *waits("pause", "pay", "read"))),
    "moving-skipped": Case("moving", waits("second"), (("move", "first", "second"),)),
}
CALLED = {"calling-failed": (("compute", "FAILED"),), "calling-waiting": waits("read"), "calling-cancelled": ()}
"""The live tokens of the instances that other cases have called."""
SUSPENDED_DEFINITIONS = {"halting": True, "resting": False}
"""The processes that are suspended in the end: whether their instances are, too."""


BELOW_FULL = (
    *("approval-new", "approval-again", "approval-done", "approval-cancelled", "approval-suspended", "failing-1"),
    *("retrying", "worker-locked", "worker-retried", "worker-failed", "waiting-message", "waiting-timer", "looping"),
    *("choosing-open", "guarded-nudged", "joining-two", "joining-failed", "picking-failed", "nested-half"),
    *("calling-failed", "calling-waiting", "moving-migrated-later", "moving-skipped", "halting"),
)
"""The cases in engines of Operaton that record less than all."""
CLEANED = ("approval-done", "approval-again", "joining-failed", "calling-waiting/called")
"""Cases whose history was cleaned up; the last one after it had completed, as its caller has."""
MORE_ENGINES = {"activity": "activity", "none": "none", "cleaned": "full"}
"""Other engines of the same Operaton server, with their history levels."""


def drive_more(server: Driver) -> dict[str, dict[str, str]]:
    """Drive the other engines of a server; returns the ids of the instances of each, as ``drive_all``."""
    made = {}
    for name in MORE_ENGINES:
        driver = OperatonDriver(f"{server.url}/engine/{name}")
        made[name] = drive_all(driver, BELOW_FULL)
        if name == "cleaned":
            driver.complete(made[name]["calling-waiting/called"], "read")
            driver.clean_history([made[name][one] for one in CLEANED])
    return made


def drive_all(driver: Driver, names: Collection[str] = CASES.keys()) -> dict[str, str]:
    """Drive an instance into each case; returns their ids, those of called instances as NAME/called."""
    definitions = driver.deploy_models()
    cases = {name: CASES[name] for name in names}
    made = {name: driver.start(case.process, name, dict(case.variables), case.tenant) for name, case in cases.items()}
    driver.settle()
    made |= {f"{name}/called": driver.called(made[name]) for name in CALLED if name in cases}
    xml = (MODELS / "moving.bpmn").read_text(encoding="utf-8")
    newer = driver.deploy("moving.bpmn", xml.replace('name="Second"', 'name="Second step"'))
    for name, case in cases.items():
        for method, *arguments in case.steps:
            if method == "migrate_to_next":
                driver.migrate(made[name], newer)
            else:
                getattr(driver, method)(made[name], *arguments)
    driver.settle()
    for process, with_instances in SUSPENDED_DEFINITIONS.items():
        driver.suspend_definition(definitions[process], with_instances=with_instances)
    return made
