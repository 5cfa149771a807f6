"""The bundled order process and the scenario that it is put through."""

from __future__ import annotations

from importlib.resources import files

from tokctl.recorder.scenario import Scenario, read_scenario


def load_demo() -> tuple[list[tuple[str, bytes]], Scenario]:
    """Return the demonstration's model, as ``simulate`` takes it, and its scenario.

    Hand ``simulate`` the time at which it shall end: the scenario has no start of its own.
    """
    folder = files(__package__)
    model = folder.joinpath("order.bpmn").read_bytes()
    return [("order.bpmn", model)], read_scenario(folder.joinpath("order.yaml").read_bytes(), "order.yaml")
