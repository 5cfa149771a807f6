"""The bundled order process and its scenario."""

from __future__ import annotations

from importlib.resources import files

from tokctl.simulation.scenario import Scenario, parse_scenario


def load_demo() -> tuple[list[tuple[str, bytes]], Scenario]:
    """Return the demonstration's model, as ``simulate`` takes it, and its scenario.

    Pass the end time to ``simulate``: the scenario has no start of its own.
    """
    folder = files(__package__)
    model = folder.joinpath("order.bpmn").read_bytes()
    return [("order.bpmn", model)], parse_scenario(folder.joinpath("order.yaml").read_bytes(), "order.yaml")
