"""Writes tokens as an engine runs: their lifecycle, and the recorder of SpiffWorkflow workflows."""
