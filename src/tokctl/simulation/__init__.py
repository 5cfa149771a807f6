"""Runs BPMN models in SpiffWorkflow on a virtual clock, by a scenario: see ``simulate``."""
